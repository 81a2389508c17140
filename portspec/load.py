"""YAML text -> a tree of values in which each one keeps its line and column.

This is the only reader of specs. It knows YAML and nothing of ports: what a key may mean is
`spec.py`'s business. YAML 1.2 is read by ruamel.yaml; anchors, tags and duplicate keys are refused,
since each of them lets a spec say something other than what it shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portspec.cache import Cache, sha256
from portspec.errors import Diagnostic, Place, SpecError
from portspec.suggest import did_you_mean

KeyPath = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_TAGS = frozenset(
    ("map", "seq", "str", "timestamp", "value", "int", "float", "bool", "null")
)  # what a plain value can be
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff]")
MAX_SPEC_BYTES = 2_000_000
MAX_NESTING = 64


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML value. `value` is a scalar, a list of nodes, or a dict of key -> `Entry`."""

    value: Any
    place: Place

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value


@dataclass(frozen=True, slots=True)
class Entry:
    """A mapping entry: where its key stands, and its value."""

    key_place: Place
    node: Node


@dataclass(frozen=True)
class Marks:
    """Where each value of a document stands, by its path of keys and indexes."""

    values: Mapping[KeyPath, Place]
    keys: Mapping[KeyPath, Place]
    file: str

    def at(self, *path: str | int) -> Place:
        """Return the place of the value at `path`, or of its nearest enclosing value that exists."""
        return self._nearest(self.values, path)

    def key(self, *path: str | int) -> Place:
        """Return the place of the key that leads to `path`, or the nearest that exists."""
        return self.keys.get(path) or self.at(*path)

    def _nearest(self, table: Mapping[KeyPath, Place], path: KeyPath) -> Place:
        while path and path not in table:
            path = path[:-1]
        return table.get(path, Place(self.file, 1, 1))


@dataclass(frozen=True)
class Document:
    """A spec as text was read: its root node, and every file that was read for it."""

    root: Node
    files: tuple[tuple[str, str], ...] = field(default=())  # (path as shown, sha256)

    def marks(self) -> Marks:
        """Flatten the tree into tables of places."""
        values: dict[KeyPath, Place] = {}
        keys: dict[KeyPath, Place] = {}
        for path, key_place, node in _walk(self.root, ()):
            values[path] = node.place
            if key_place:
                keys[path] = key_place
        return Marks(values, keys, self.root.place.file)


def _walk(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Place | None, Node]]:
    yield path, None, node
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            for sub, place, child in _walk(entry.node, (*path, key)):
                yield sub, (entry.key_place if sub == (*path, key) else place), child
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index))


def read_document(path: Path, shown: str, cache: Cache | None = None) -> Document:
    """Read one YAML file.

    Args:
        path: The file.
        shown: The name to use for it in diagnostics.
        cache: Where parsed documents are remembered, by content.

    Raises:
        SpecError: E001 unreadable, E002 not YAML, E003 duplicate key, E004 a feature that specs do
            not have (anchors, tags, directives), E005 not a mapping.
    """
    raw = _read(path, shown)
    text = _decode(raw, shown)
    sha = sha256(raw)
    if cache:
        packed = cache.memo("yaml", sha, lambda: _pack(parse(text, shown)))
        return Document(_unpack(packed, shown), ((shown, sha),))
    return Document(parse(text, shown), ((shown, sha),))


def read_text(path: Path, shown: str) -> str:
    """Read the text of a spec.

    Raises:
        SpecError: E001 unreadable.
    """
    return _decode(_read(path, shown), shown)


def _read(path: Path, shown: str) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        folder = path if isinstance(error, IsADirectoryError) else path.parent
        known = sorted(p.name for p in folder.glob("*.yaml") if p.is_file())
        listed = f"Specs in {folder.as_posix()}: {', '.join(known) or 'none'}."
        remedy = "" if path.name in known else did_you_mean(path.name, known, listed)
        message = f"cannot read it: {error.strerror}"
        raise _fail("E001", message, Place(shown), remedy) from error
    if len(raw) > MAX_SPEC_BYTES:
        remedy = f"A spec may have {MAX_SPEC_BYTES} bytes; is this a checkpoint?"
        raise _fail("E001", f"{len(raw)} bytes is too much for a spec", Place(shown), remedy)
    return raw


def _decode(raw: bytes, shown: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        remedy = "Save the file as UTF-8."
        raise _fail("E001", "it is not UTF-8 text", Place(shown, line), remedy) from error


def parse(text: str, shown: str, *, strict: bool = True) -> Node:
    """Parse YAML text into a node; see `read_document` for what is refused.

    Args:
        text: The text.
        shown: The name to use for it in diagnostics.
        strict: Refuse what specs do not have. A person's file may have it; of a repeated key, the first
            is read.
    """
    if strict and (directive := re.search(r"^%", text, re.MULTILINE)):
        place = Place(shown, text.count("\n", 0, directive.start()) + 1, 1)
        raise _fail("E004", "directives are not used in specs", place, "Leave the line out.")
    documents = _documents(text, shown)
    if len(documents) != 1:
        raise _not_one(documents, shown)
    problems: list[Diagnostic] = []
    node = _convert(documents[0], shown, problems, set())
    if problems and strict:
        raise SpecError(dict.fromkeys(problems))
    if not isinstance(node.value, dict):
        what = "a spec is a mapping of sections, not a list or a word"
        raise _fail("E005", what, node.place, "Start with `portspec: 1`, and no dash before it.")
    return node


def _documents(text: str, shown: str) -> list[Any]:
    """Compose all documents of a text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    reader = YAML(typ="safe", pure=True)
    reader.composer.warn_double_anchors = False  # each of them is refused
    try:
        return list(reader.compose_all(text))
    except RecursionError as error:
        raise _fail("E002", "values are nested too deeply", Place(shown)) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(shown, mark.line + 1, mark.column + 1) if mark else Place(shown)
        problem = " ".join(str(error.problem or error.context or error).split())
        raise _fail("E002", f"this is not YAML: {problem}", place, _yaml_remedy(problem)) from error
    except (YAMLError, AssertionError) as error:
        problem = " ".join(str(error).split())
        at = getattr(error, "position", 0)  # of a character that YAML does not have
        place = Place(shown, text.count("\n", 0, at) + 1) if at else Place(shown)
        raise _fail("E002", f"this is not YAML: {problem}", place) from error


def _not_one(documents: Sequence[Any], shown: str) -> SpecError:
    if not documents:
        place = Place(shown, 1, 1)
        return _fail("E005", "the file is empty", place, "Write a mapping of sections.")
    place = Place(shown, documents[1].start_mark.line + 1, 1)
    remedy = "Put it into a file of its own."
    return _fail("E005", "a second YAML document starts here", place, remedy)


def _yaml_remedy(problem: str) -> str:
    if "escape" in problem:
        return "Write regular expressions in single quotes: '^blocks\\.(\\d+)\\.'."
    if "mapping values" in problem or "':'" in problem:
        return "Quote a text that holds ': ' or ' #'."
    if "tab" in problem or "\\t" in problem:
        return "Indent with spaces; YAML knows no tabs there."
    return "Check the indentation and the quotes here and on the line before."


def _convert(node: Any, shown: str, problems: list[Diagnostic], open_nodes: set[int]) -> Node:
    place = Place(shown, node.start_mark.line + 1, node.start_mark.column + 1)
    problems += _foreign(node, place)
    if node.anchor is not None or id(node) in open_nodes:
        return Node(None, place)
    if len(open_nodes) >= MAX_NESTING:
        message = f"values are nested more than {MAX_NESTING} deep"
        problems.append(Diagnostic("E002", message, place))
        return Node(None, place)
    kind = type(node).__name__
    if kind == "MappingNode":
        return Node(_convert_mapping(node, shown, problems, open_nodes | {id(node)}), place)
    if kind == "SequenceNode":
        return Node(
            [_convert(n, shown, problems, open_nodes | {id(node)}) for n in node.value], place
        )
    return Node(_scalar(str(node.tag), node.value, place, problems), place)


def _foreign(node: Any, place: Place) -> Iterator[Diagnostic]:
    """Yield what a node uses that specs do not have."""
    tag = str(node.tag)
    if node.anchor is not None:
        remedy = "Write the value out, or put what is shared into a spec that this one extends."
        yield Diagnostic("E004", "anchors and aliases are not used in specs", place, remedy)
    if node.ctag.handle is not None or tag.removeprefix(_TAG) not in _TAGS:
        message = f'the tag "{tag}" is not used in specs'
        yield Diagnostic("E004", message, place, "Write a plain value.")


def _convert_mapping(
    node: Any, shown: str, problems: list[Diagnostic], open_nodes: set[int]
) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key_place = Place(shown, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        key = key_node.value
        if not isinstance(key, str):
            remedy = "Quote it; a text that starts with { or [ is read as a mapping or a list."
            problems.append(Diagnostic("E005", "a key must be a word", key_place, remedy))
            continue
        problems += _foreign(key_node, key_place)
        _text(key, key_place, problems)
        if key in entries:
            first = entries[key].key_place
            message = f'the key "{key}" stands here for the second time; the first is on line {first.line}'
            remedy = "Keep one of them: YAML readers would silently take the last."
            problems.append(
                Diagnostic("E003", message, key_place, remedy, related=(("the first", first),))
            )
            continue
        entries[key] = Entry(key_place, _convert(value_node, shown, problems, open_nodes))
    return entries


def _scalar(tag: str, text: str, place: Place, problems: list[Diagnostic]) -> Any:
    try:
        match tag.removeprefix(_TAG):
            case "int":
                return _integer(text)
            case "float":
                return _float(text)
            case "bool":
                return text.lower() == "true"
            case "null":
                return None
    except ValueError:
        message = f"this is no number that can be read: {text[:40]}"
        problems.append(Diagnostic("E002", message, place, "Quote it if it is a text."))
        return None
    return _text(text, place, problems)


def _text(text: str, place: Place, problems: list[Diagnostic]) -> str:
    """Refuse what only an escape can write: YAML itself has no control characters and no half ones."""
    if found := _CONTROL.search(text):
        message = f"this text holds the control character U+{ord(found[0]):04X}"
        problems.append(Diagnostic("E002", message, place, "Leave it out."))
    return text


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, 0) if digits.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(digits)


def _float(text: str) -> float:
    word = text.replace("_", "").lower()
    special = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
    return float(special.get(word, word))


def _fail(code: str, message: str, place: Place, remedy: str = "") -> SpecError:
    return SpecError([Diagnostic(code, message, place, remedy)])


def _pack(node: Node) -> list[Any]:
    where = [node.place.line, node.place.column]
    if isinstance(node.value, dict):
        entries = [
            [key, entry.key_place.line, entry.key_place.column, _pack(entry.node)]
            for key, entry in node.value.items()
        ]
        return ["m", *where, entries]
    if isinstance(node.value, list):
        return ["q", *where, [_pack(item) for item in node.value]]
    return ["s", *where, node.value]


def _unpack(packed: list[Any], shown: str) -> Node:
    kind, line, column, value = packed
    place = Place(shown, line, column)
    if kind == "m":
        entries = {
            key: Entry(Place(shown, key_line, key_column), _unpack(child, shown))
            for key, key_line, key_column, child in value
        }
        return Node(entries, place)
    if kind == "q":
        return Node([_unpack(child, shown) for child in value], place)
    return Node(value, place)
