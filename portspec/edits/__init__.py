"""What a build may do to a tree: whole files, and keyed entries inside people's files.

An edit is a value. It names the file and the entry by structure (this key of that dict, this call with
those keywords), never by line number. Deciding and doing are apart: `splices` says which characters of a
given text would change, `apply_edits` changes them, and what was done is proved before it is believed:
every entry is there, and taking the entries out again gives back every byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from portspec.errors import PortspecBug


@dataclass(frozen=True, order=True, slots=True)
class Splice:
    """Replace the characters `start:end` by `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class CreateFile:
    """A whole file. `item` is the address in the spec that it comes from.

    `ownership` is "generated" (rebuilt from the spec) or "scaffold" (written once, then a person's).
    """

    path: str
    text: str
    item: str
    ownership: str = "generated"


@runtime_checkable
class Anchored(Protocol):
    """An entry inside a file that people own."""

    @property
    def path(self) -> str:
        """The file."""
        ...

    @property
    def item(self) -> str:
        """The address in the spec that the entry comes from."""
        ...

    @property
    def address(self) -> str:
        """What identifies the entry within the file, for people and for the lock."""
        ...

    def insert(self, text: str) -> Sequence[Splice]:
        """Return the splices that put the entry in; none when it is there as it should be.

        Raises:
            EmitError: E221 it is there and says something else; E222 its container is not there.
        """
        ...

    def remove(self, text: str) -> Sequence[Splice]:
        """Return the splices that take the entry out; none when it is not there."""
        ...

    def is_in(self, text: str) -> bool:
        """Tell whether the entry is there as it should be."""
        ...


Edit = CreateFile | Anchored


def splice(text: str, splices: Iterable[Splice]) -> str:
    """Apply splices to a text, from its end, so that they do not shift each other."""
    ordered = sorted(enumerate(splices), key=lambda pair: (pair[1].start, pair[1].end, pair[0]))
    previous_end = 0
    for _, item in ordered:
        if item.start < previous_end:
            raise PortspecBug(f"two edits touch the same characters around {item.start}")
        previous_end = item.end
    for _, item in reversed(ordered):
        text = text[: item.start] + item.text + text[item.end :]
    return text


def apply_edits(text: str, edits: Sequence[Anchored]) -> str:
    """Put entries into a file's text and prove the result.

    Raises:
        EmitError: An entry cannot be placed, or is there and says something else.
        PortspecBug: The result does not hold the entries, or cannot be undone to the byte.
    """
    missing = [edit for edit in edits if not edit.is_in(text)]
    if not missing:
        return text
    splices = [s for edit in missing for s in edit.insert(text)]
    if "\r\n" in text:
        splices = [replace(s, text=s.text.replace("\n", "\r\n")) for s in splices]
    after = splice(text, splices)
    absent = [edit.address for edit in edits if not edit.is_in(after)]
    if absent:
        raise PortspecBug(
            f"{missing[0].path}: after the edit these are not there: {', '.join(absent)}"
        )
    if remove_edits(after, missing) != text:
        raise PortspecBug(f"{missing[0].path}: the edit cannot be undone to the byte")
    return after


def remove_edits(text: str, edits: Sequence[Anchored]) -> str:
    """Take entries out of a file's text; entries that are not there are passed over."""
    return splice(text, [s for edit in edits for s in edit.remove(text)])


def record(edit: Anchored) -> dict[str, Any]:
    """Return an entry as JSON, from which `restore` makes it again, to take it out as it was put in."""
    kind = type(edit).__module__.rpartition(".")[2]
    return {"kind": kind, **{f.name: getattr(edit, f.name) for f in fields(edit)}}  # type: ignore[arg-type]


def restore(row: Mapping[str, Any]) -> Anchored:
    """Make an entry again from what `record` returned, once through JSON."""
    kind = str(row["kind"])
    name = "".join(word.capitalize() for word in kind.split("_"))
    values = {key: _frozen(value) for key, value in row.items() if key != "kind"}
    made: Anchored = getattr(import_module(f"{__name__}.{kind}"), name)(**values)
    return made


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
