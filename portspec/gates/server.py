"""A process that has imported what gates need, and forks one child per gate.

Importing torch and two model libraries takes longer than most gates. So they are imported once, here, and
every gate starts as a fork of this process: in a session of its own, with its own log, environment and
fate. A gate that must see a bare interpreter, or a machine on which a fork cannot use the accelerator, gets
a new interpreter instead.

Standard input carries one JSON object a line: first `{"preload": [...]}`, then jobs. Standard output
carries `{"ready": true}`, and `{"job": ..., "pid": ...}` and `{"job": ..., "exit": ...}` for each.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from importlib import import_module
from typing import Any


class Server:
    """Forks and reaps. One thread, no locks: a fork must never find a lock taken."""

    def __init__(self, reports: int) -> None:
        self._reports = reports
        self._jobs: dict[int, str] = {}
        self._fork_only = True

    def report(self, **values: Any) -> None:
        """Send one line to the runner."""
        os.write(self._reports, (json.dumps(values) + "\n").encode())

    def preload(self, modules: list[str]) -> None:
        """Import what gates share; a module that does not import is some gate's business to report."""
        started = time.monotonic()
        for name in modules:
            try:
                import_module(name)
            except Exception:
                traceback.print_exc()
        torch = sys.modules.get("torch")
        self._fork_only = torch is None or not torch.cuda.is_available()
        self.report(ready=True, seconds=time.monotonic() - started)

    def start(self, job: dict[str, Any]) -> None:
        """Fork a child for a job."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._become(job)
        self._jobs[pid] = job["job"]
        self.report(job=job["job"], pid=pid)

    def _become(self, job: dict[str, Any]) -> None:
        """Turn this fork into the gate; never return."""
        try:
            os.setsid()
            os.close(self._reports)  # or the runner would not hear that this server has gone
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ.update(job["env"])
            if job["fresh"] or not self._fork_only:
                os.execv(
                    sys.executable, [sys.executable, "-m", "portspec.gates.child", job["request"]]
                )
            from portspec.gates import child

            child.main(job["request"])
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(70)

    def reap(self) -> None:
        """Report every child that has ended."""
        while self._jobs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            job = self._jobs.pop(pid, None)
            if job:
                self.report(job=job, exit=os.waitstatus_to_exitcode(status))

    def serve(self) -> None:
        """Take jobs until standard input ends."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides when to stop
        signal.set_wakeup_fd(wake_write)
        selector = selectors.DefaultSelector()
        selector.register(0, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        lines = Lines()
        while True:
            for key, _ in selector.select():
                if key.fd == wake_read:
                    os.read(wake_read, 4096)
                    self.reap()
                    continue
                chunk = os.read(0, 65536)
                if not chunk:
                    return
                for line in lines.feed(chunk):
                    self.take(json.loads(line))

    def take(self, message: dict[str, Any]) -> None:
        """Act on one message."""
        if "preload" in message:
            self.preload(message["preload"])
        else:
            self.start(message)


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        yield from whole


def main() -> None:
    """Keep standard output for reports, and let everything that is printed go to the log."""
    reports = os.dup(1)
    os.set_inheritable(reports, False)
    os.dup2(2, 1)
    Server(reports).serve()


if __name__ == "__main__":
    main()
