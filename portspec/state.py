"""What a build leaves beside the target, so that the next one knows what it owns: `.portspec/<family>/`.

    lock.json       what was written: each file with its hash, each entry as it was put in
    base/<path>     the text of each generated file as it was written, for telling a person's edit from ours
    evidence.json   what the gates have shown, and digests of what they read
    local/          logs, small checkpoints, times: this machine's alone, and ignored by git

Everything but `local/` is meant to be committed with the port. The files hold no date, host or path of a
machine, are sorted, and change only when what they describe changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portspec.edits import Anchored, CreateFile, record, restore
from portspec.errors import Diagnostic, Place, TargetError
from portspec.gates.result import GateResult

FOLDER = ".portspec"
VERSION = 1


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """A file that a build wrote: `base` is its text then, kept for generated files only."""

    ownership: str
    item: str
    sha256: str
    base: str | None


@dataclass(frozen=True)
class State:
    """What earlier builds of a family have written into a target.

    `shared` are the entries that other families' records hold: one that two ports need is both ports' own.
    """

    files: Mapping[str, OwnedFile] = field(default_factory=dict)
    entries: tuple[Anchored, ...] = ()
    shared: tuple[Anchored, ...] = ()

    def entries_of(self, path: str) -> tuple[Anchored, ...]:
        """Return the entries in one file."""
        return tuple(e for e in self.entries if e.path == path)

    def shared_of(self, path: str) -> tuple[Anchored, ...]:
        """Return what other families hold in one file."""
        return tuple(e for e in self.shared if e.path == path)


def state_folder(root: Path, family: str) -> Path:
    """Return the folder of a family's state."""
    return root / FOLDER / family


def local_folder(root: Path, family: str) -> Path:
    """Return the folder for what stays on this machine."""
    return state_folder(root, family) / "local"


def read_state(root: Path, family: str) -> State:
    """Read what earlier builds have written; nothing when there was none.

    Raises:
        TargetError: E230 the record is damaged, or another family's, on which it depends what may go.
    """
    own = state_folder(root, family) / "lock.json"
    found = {path: _read_lock(path) for path in lock_files(root)}
    files, entries = found.pop(own, ({}, ()))
    return State(files, entries, tuple(e for _, others in found.values() for e in others))


def lock_files(root: Path) -> list[Path]:
    """Return the record of every family."""
    return sorted(root.glob(f"{FOLDER}/*/lock.json"))


def _read_lock(path: Path) -> tuple[dict[str, OwnedFile], tuple[Anchored, ...]]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["version"] != VERSION:
            raise ValueError(f"it has version {raw['version']}, this portspec reads {VERSION}")
        files = {
            name: OwnedFile(row["ownership"], row["item"], row["sha256"], _base(path.parent, name))
            for name, row in raw["files"].items()
        }
        return files, tuple(restore(row) for row in raw["entries"])
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        remedy = (
            "Restore it from version control, or delete the folder: the next build starts afresh."
        )
        message = f"the record of earlier builds cannot be read: {error}"
        raise TargetError([Diagnostic("E230", message, Place(str(path)), remedy)]) from error


def _base(folder: Path, name: str) -> str | None:
    path = folder / "base" / name
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()


def state_files(
    family: str, files: Iterable[CreateFile], entries: Iterable[Anchored]
) -> dict[str, str]:
    """Return the files that record a build, by path relative to the target's root."""
    from portspec.cache import content_sha

    folder = f"{FOLDER}/{family}"
    rows = {
        file.path: {
            "ownership": file.ownership,
            "item": file.item,
            "sha256": content_sha(file.text),
        }
        for file in files
    }
    recorded = sorted(
        (record(entry) for entry in entries), key=lambda r: (r["path"], json.dumps(r))
    )
    written = {
        f"{folder}/lock.json": dump({"version": VERSION, "files": rows, "entries": recorded}),
        f"{FOLDER}/.gitignore": "*/local/\njournal/\nlock\n",
    }
    for file in files:
        if file.ownership == "generated":
            written[f"{folder}/base/{file.path}"] = file.text
    return written


def dump(value: Any) -> str:
    """Return JSON in the one form that is committed."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_evidence(root: Path, family: str) -> dict[str, tuple[GateResult, dict[str, str]]]:
    """Read recorded gate results, each with the digests of what the gate read; damaged ones do not count."""
    path = state_folder(root, family) / "evidence.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: (
                GateResult(
                    name, row["status"], row["basis"], row["message"], row["metrics"], cached=True
                ),
                dict(row["inputs"]),
            )
            for name, row in raw.items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def evidence_text(
    results: Mapping[str, GateResult], inputs: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the evidence file: only gates that were really run are evidence of anything."""
    rows = {
        name: {**result.evidence(), "inputs": dict(inputs.get(name, {}))}
        for name, result in results.items()
        if result.status in ("pass", "fail", "inconclusive")
    }
    return dump(rows)
