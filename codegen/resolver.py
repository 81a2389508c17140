"""FastVideo's own resolution of a model path, replayed on parsed registrations.

Follows `_get_config_info` in fastvideo/registry.py (FastVideo 0.2.1, line 168): an exact hub id, then an
equal last path component, then the first detector that fires on the lower-cased path or on the
lower-cased `_class_name`, in order of registration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from portspec.codegen.index.registrations import Registration

SNAPSHOT = "0123456789abcdef0123456789abcdef01234567"
NEUTRAL_PATH = "/data/checkpoints/model-under-test"


@dataclass(frozen=True, slots=True)
class Probe:
    """One way in which a user may name a checkpoint."""

    form: str
    path: str
    class_name: str

    @property
    def names(self) -> tuple[str, str]:
        """What the framework is given: the path, and the class name in the manifest."""
        return self.path, self.class_name


def cache_path(hub: str) -> str:
    """Return the folder in which the hub's cache keeps a snapshot of a repository."""
    return (
        f"/home/user/.cache/huggingface/hub/models--{hub.replace('/', '--')}/snapshots/{SNAPSHOT}"
    )


def probes(hub: str, class_name: str) -> Iterator[Probe]:
    """Yield the forms that must all lead to the entry that owns the hub id."""
    yield Probe("hub id", hub, class_name)
    yield Probe("hub-cache path", cache_path(hub), class_name)
    yield Probe("local folder of that name", f"/data/{hub.split('/')[-1]}", class_name)


class Resolver:
    """Resolves paths against registrations; answers are remembered, since checks ask many times."""

    def __init__(self, registrations: Sequence[Registration]) -> None:
        self.registrations = registrations
        self._fired: dict[str, int] = {}

    @cached_property
    def _by_id(self) -> dict[str, Registration]:
        return {hub: entry for entry in self.registrations for hub, _ in entry.hub}

    @cached_property
    def _by_short_name(self) -> dict[str, Registration]:
        longest_first = sorted(self._by_id, key=len, reverse=True)
        found: dict[str, Registration] = {}
        for hub in longest_first:
            found.setdefault(hub.lower().split("/")[-1], self._by_id[hub])
        return found

    def resolve(self, path: str, class_name: str) -> Registration | None:
        """Return the registration that FastVideo would choose."""
        if path in self._by_id:
            return self._by_id[path]
        short = path.lower().split("/")[-1]
        if short in self._by_short_name:
            return self._by_short_name[short]
        first = min(self._first(path.lower()), self._first(class_name.lower()))
        return self.registrations[first] if first < len(self.registrations) else None

    def _first(self, text: str) -> int:
        """Return the index of the first registration that fires on a string."""
        if text not in self._fired:
            hits = (r.index for r in self.registrations if r.fires_on(text))
            self._fired[text] = next(hits, len(self.registrations))
        return self._fired[text]
