"""Plan: edits, the record of earlier builds and the tree -> what would change, and why. Nothing is written.

A file on disk is compared with what we wrote last (its base) and with what we would write now. What a person
has changed is a conflict, not a casualty. Entries in people's files that are already as they should be stay
where they are, wherever that is by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from portspec.cache import Cache, sha256
from portspec.edits import Anchored, CreateFile, Edit, apply_edits, record, remove_edits
from portspec.edits.source import edited, overruled
from portspec.errors import Diagnostic, EmitError, Place
from portspec.state import State, dump
from portspec.tree import Tree

Kind = Literal["create", "change", "delete", "conflict", "unchanged", "kept"]
WRITES: tuple[Kind, ...] = ("create", "change", "delete")


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one file. `before` and `after` are its texts, None where it does not exist."""

    path: str
    kind: Kind
    ownership: str
    cause: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Plan:
    """Every file that a build looks at, in the order of their paths."""

    changes: tuple[Change, ...]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[CreateFile, ...]
    entries: tuple[Anchored, ...]

    @property
    def conflicts(self) -> tuple[Diagnostic, ...]:
        """What keeps the plan from being applied."""
        return tuple(d for d in self.diagnostics if d.severity == "error")

    def writes(self) -> Iterator[Change]:
        """Yield the changes that would touch the disk."""
        return (change for change in self.changes if change.kind in WRITES)

    @property
    def edited(self) -> frozenset[str]:
        """Generated files that a person has changed and that stay so."""
        return frozenset(
            c.path for c in self.changes if c.kind == "kept" and c.ownership == "generated"
        )

    def overlay(self) -> dict[str, str | None]:
        """Return the tree's texts as they would be, for `Tree.overlay`."""
        return {change.path: change.after for change in self.changes if change.kind != "conflict"}


def split(edits: Iterable[Edit]) -> tuple[list[CreateFile], list[Anchored]]:
    """Part whole files from entries.

    Raises:
        EmitError: E211 two emitters write one file.
    """
    files: dict[str, CreateFile] = {}
    entries: list[Anchored] = []
    for edit in edits:
        if not isinstance(edit, CreateFile):
            entries.append(edit)
            continue
        if edit.path in files:
            message = f"{edit.path} is written for {files[edit.path].item} and for {edit.item}"
            remedy = "Give the two parts of the spec different names."
            raise EmitError([Diagnostic("E211", message, Place(edit.path), remedy)])
        files[edit.path] = edit
    return list(files.values()), entries


def undone(tree: Tree, state: State, cache: Cache) -> dict[str, str | None]:
    """Return the tree's texts as they were before any build of the family, for `Tree.overlay`.

    What a person wrote stays: scaffolds, files that were edited, entries that no longer say what we wrote.
    So does an entry that another family needs, too.
    """
    texts: dict[str, str | None] = {}
    for path, owned in state.files.items():
        if owned.ownership == "generated" and tree.exists(path) and tree.text(path) == owned.base:
            texts[path] = None
    for path in sorted({entry.path for entry in state.entries}):
        if tree.exists(path):
            own, shared = state.entries_of(path), state.shared_of(path)
            texts[path] = _without(tree.text(path), own, shared, cache)
    return texts


def _without(
    text: str, entries: Sequence[Anchored], shared: Sequence[Anchored], cache: Cache
) -> str:
    key = sha256(text, *(dump([record(e) for e in rows]) for rows in (entries, shared)))

    def compute() -> str:
        gone = [e for e in entries if e.is_in(text) and not _is_held(e, shared, text)]
        return remove_edits(text, gone)

    return str(cache.memo("remove", key, compute))


def _is_held(entry: Anchored, shared: Sequence[Anchored], text: str) -> bool:
    """Tell whether the entry that stands in a text is one that another family holds."""
    return any(e.address == entry.address and e.is_in(text) for e in shared)


def make_plan(
    edits: Iterable[Edit], state: State, tree: Tree, cache: Cache, replace: Iterable[str] = ()
) -> Plan:
    """Compare what is wanted with what is there.

    Args:
        edits: What the build would write.
        state: What earlier builds have written.
        tree: The target as it is on disk.
        cache: Remembers the texts that entries lead to.
        replace: Paths of generated files whose edits by hand may be lost.
    """
    files, entries = split(edits)
    diagnostics: list[Diagnostic] = []
    ours: list[Anchored] = []
    written = [_file(file, state, tree, diagnostics, frozenset(replace)) for file in files]
    found = _Found(state, adopt=_is_lost(state, written))
    changes = [
        *written,
        *_gone(files, state, tree, diagnostics),
        *_anchored(entries, found, tree, diagnostics, cache, ours),
    ]
    ordered = sorted(changes, key=lambda change: change.path)
    return Plan(tuple(ordered), tuple(diagnostics), tuple(files), tuple(ours))


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of the entries that stand in the tree; `adopt` makes every wanted one ours."""

    state: State
    adopt: bool


def _is_lost(state: State, written: Sequence[Change]) -> bool:
    """Tell whether a build has been here and its record is gone.

    Then every generated file stands as it would be written, but for those that are given up.
    """
    kinds = [(c.kind, bool(c.before)) for c in written if c.ownership == "generated"]
    known = bool(state.files or state.entries)
    return (
        not known
        and ("unchanged", True) in kinds
        and all(kind in ("unchanged", "change") for kind, _ in kinds)
    )


def _file(
    file: CreateFile,
    state: State,
    tree: Tree,
    diagnostics: list[Diagnostic],
    replace: frozenset[str],
) -> Change:
    before = tree.text(file.path) if tree.exists(file.path) else None
    owned = state.files.get(file.path)

    def change(kind: Kind, after: str | None) -> Change:
        return Change(file.path, kind, file.ownership, file.item, before, after)

    if before is None:
        return change("create", file.text)
    if before == file.text:
        return change("unchanged", before)
    if file.ownership == "scaffold":
        return change("kept", before)
    if file.path in replace or (owned is not None and before == owned.base):
        return change("change", file.text)
    if owned is not None and file.text == owned.base:
        diagnostics.append(_kept(file, tree))
        return change("kept", before)
    diagnostics.append(_edited(file, tree) if owned else _unmanaged(file, tree))
    return change("conflict", None)


def _kept(file: CreateFile, tree: Tree) -> Diagnostic:
    message = (
        f"{file.path} was edited by hand; the edit stays, and no gate that runs the file can pass"
    )
    remedy = f"Move the edit into the spec, or give it up with --replace {file.path}."
    return Diagnostic("W220", message, tree.place(file.path), remedy)


def _edited(file: CreateFile, tree: Tree) -> Diagnostic:
    message = f"{file.path} was edited by hand, and the spec now makes something else of it"
    remedy = f"Move the edit into the spec, undo it, or give it up with --replace {file.path}."
    return Diagnostic("E220", message, tree.place(file.path), remedy)


def _unmanaged(file: CreateFile, tree: Tree) -> Diagnostic:
    message = f"{file.path} exists and was not written by portspec"
    remedy = (
        f"Choose another family name, remove the file, or give it up with --replace {file.path}."
    )
    return Diagnostic("E210", message, tree.place(file.path), remedy)


def _gone(
    files: Sequence[CreateFile], state: State, tree: Tree, diagnostics: list[Diagnostic]
) -> Iterator[Change]:
    """Yield what happens to files that the spec no longer asks for."""
    wanted = {file.path for file in files}
    for path, owned in state.files.items():
        if path in wanted or not tree.exists(path):
            continue
        before = tree.text(path)
        if owned.ownership == "generated" and before == owned.base:
            yield Change(path, "delete", owned.ownership, f"{owned.item} is gone", before, None)
            continue
        message = f"{path} is no longer in the spec; it holds a person's work and stays"
        remedy = "Delete it if nobody needs it."
        diagnostics.append(Diagnostic("N221", message, tree.place(path), remedy))
        yield Change(path, "kept", owned.ownership, f"{owned.item} is gone", before, before)


def _anchored(
    entries: Sequence[Anchored],
    found: _Found,
    tree: Tree,
    diagnostics: list[Diagnostic],
    cache: Cache,
    ours: list[Anchored],
) -> Iterator[Change]:
    """Yield the files that entries change, and collect the entries that the build owns."""
    for path in sorted({e.path for e in (*entries, *found.state.entries)}):
        mine = [e for e in entries if e.path == path]
        cause = mine[0].item if mine else "the entry is gone from the spec"
        if not tree.exists(path):
            message = f"there is no {path} to put {mine[0].address if mine else 'an entry'} into"
            diagnostics.append(Diagnostic("E222", message, tree.place(path), _LAYOUT))
            continue
        before = tree.text(path)
        after, problems, theirs = _with(before, path, found, mine, cache)
        ours += [entry for index, entry in enumerate(mine) if index not in theirs]
        if problems:
            diagnostics += [
                Diagnostic(code, message, tree.place(path, line), remedy)
                for code, message, line, remedy in problems
            ]
            yield Change(path, "conflict", "anchored", cause, before, None)
        else:
            kind: Kind = "unchanged" if after == before else "change"
            yield Change(path, kind, "anchored", cause, before, after)


_LAYOUT = "The target tree is not laid out as expected; docs/target.md says what is needed."


def _with(
    text: str, path: str, found: _Found, new: Sequence[Anchored], cache: Cache
) -> tuple[str, list[tuple[str, str, int, str]], set[int]]:
    """Return the text with old entries replaced by new ones, or the problems in the way.

    Returns:
        The text; the problems; and which of the new entries somebody else had written already: they are not
        ours, and will not be taken out with what is.
    """
    old, shared = found.state.entries_of(path), found.state.shared_of(path)
    rows = [[record(e) for e in entries] for entries in (old, new, shared)]

    def compute() -> list[object]:
        theirs: list[int] = []
        try:
            if not found.adopt:
                theirs = _theirs(text, old, new, shared)
            unwanted = [e for e in old if e not in new and not _is_held(e, shared, text)]
            _refuse_edited(text, unwanted, (*old, *new))
            dropped = [e for e in unwanted if e.is_in(text) and not edited(e, text)]
            return [apply_edits(remove_edits(text, dropped), new), [], theirs]
        except EmitError as error:
            problems = [[d.code, d.message, d.place.line, d.remedy] for d in error.diagnostics]
            return [text, problems, theirs]

    key = sha256(text, dump(rows), str(found.adopt))
    after, problems, theirs = cache.memo("edit", key, compute)
    return str(after), [(str(c), str(m), int(n), str(r)) for c, m, n, r in problems], set(theirs)


def _theirs(
    text: str, old: Sequence[Anchored], new: Sequence[Anchored], shared: Sequence[Anchored]
) -> list[int]:
    """Return which new entries stood there before any port wanted them."""
    owned = {e.address for e in old}
    return [
        index
        for index, e in enumerate(new)
        if e.address not in owned and e.is_in(text) and not _is_held(e, shared, text)
    ]


def _refuse_edited(text: str, unwanted: Sequence[Anchored], known: Sequence[Anchored]) -> None:
    """Refuse to go on over entries that would be taken out or replaced, but hold a person's work.

    Raises:
        EmitError: E221 there is one.
    """
    lines = ((e, edited(e, text)) for e in unwanted)
    found = [
        overruled(e.path, line, e.address)
        for e, line in lines
        if line and not _is_another(e, known, text)
    ]
    if found:
        raise EmitError(found)


def _is_another(entry: Anchored, known: Sequence[Anchored], text: str) -> bool:
    """Tell whether what stands in an entry's place is just what another entry says."""
    place = [s.end for s in entry.remove(text)]
    same = (e for e in known if e != entry and [s.end for s in e.remove(text)] == place)
    return any(e.is_in(text) for e in same)
