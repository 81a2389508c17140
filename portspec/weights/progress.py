"""How far long work with weights is, with its throughput and the time that is left."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portspec.console import Console

_EVERY = 2.0  # seconds between two lines


class Meter:
    """Counts bytes from several threads, and says every two seconds how far they are."""

    def __init__(self, total: int, console: Console, word: str) -> None:
        self._total = total
        self._console = console
        self._word = word
        self._lock = Lock()
        self._done = 0
        self._started = self._said = time.monotonic()

    def add(self, nbytes: int) -> None:
        """Count more bytes."""
        with self._lock:
            self._done += nbytes
            now = time.monotonic()
            if now - self._said < _EVERY:
                return
            self._said = now
            speed = self._done / (now - self._started)
            left = (self._total - self._done) / speed if speed else 0.0
            self._console.say(
                f"{self._done / 1e9:.1f} of {self._total / 1e9:.1f} GB {self._word}, "
                f"{speed / 1e6:.0f} MB/s, {left:.0f} s left"
            )
