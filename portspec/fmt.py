"""A spec's one layout: keys in the order of the language, two spaces, comments where they belong.

Only the order of keys and the white space between them change; every value and every comment stays as it is
written, and a comment goes with the key that it stands above. The result is read again and compared with what
was there, so that formatting can never change a meaning or lose a comment: what cannot be laid out without
that is left as it stands.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any, get_args

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.emitter import Emitter
from ruamel.yaml.resolver import VersionedResolver

from portspec.errors import SpecError
from portspec.load import Node, parse
from portspec.spec import PortSpec

_WIDTH = 118
_REMARK = re.compile(r"[ \t]*(#.*)?")
_START = re.compile(r"---[ \t]*")


def format_spec(text: str, shown: str) -> str:
    """Return a spec's text in its one layout.

    Raises:
        SpecError: E00x it cannot be read.
    """
    root = parse(text, shown)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    before = _essence(text, root)
    ordered = _ordered(text, root)
    laid_out = _laid_out(ordered)
    bare = "\n".join(line.rstrip() for line in laid_out.split("\n")).strip("\n") + "\n"
    for after in (bare, laid_out, ordered):
        try:
            if _essence(after, parse(after, shown)) == before:
                return after
        except SpecError:
            continue
    return text


def _essence(text: str, root: Node) -> tuple[str, list[str]]:
    """Return what a text says, and its comments."""
    return json.dumps(root.plain(), sort_keys=True), sorted(_comments(text))


def _comments(text: str) -> list[str]:
    """Return the comments, which are all that stands between two tokens beside white space."""
    found: list[str] = []
    at = 0
    for token in YAML(typ="safe", pure=True).scan(text):
        found += re.findall(r"#.*", text[at : token.start_mark.index])
        at = max(at, token.end_mark.index)
    return [comment.rstrip() for comment in found]


def _ordered(text: str, root: Node) -> str:
    """Move the lines of whole entries, each with the comments above it."""
    lines = text.rstrip("\n").split("\n")
    first = min((entry.key_place.line for entry in root.value.values()), default=1) - 1
    last = _above([*lines, ""], len(lines))
    head = [line for line in lines[:first] if not _START.fullmatch(line)]
    return "\n".join([*head, *_entries(lines, root, PortSpec, first, last), *lines[last:]]) + "\n"


def _entries(lines: list[str], node: Node, annotation: Any, first: int, end: int) -> list[str]:
    """Return the lines from `first` to `end`, which hold a mapping, in the order of the language."""
    if not _is_block(lines, node, first, end):
        return lines[first:end]
    model, item = _shape(annotation)
    fields = _fields(model)
    keys = {key: entry.key_place.line - 1 for key, entry in node.value.items()}
    starts = [first, *(_above(lines, line) for line in list(keys.values())[1:]), end]
    parts: dict[str, list[str]] = {}
    for index, (key, line) in enumerate(keys.items()):
        below = fields[key].annotation if key in fields else item
        child = _entries(lines, node.value[key].node, below, line + 1, starts[index + 1])
        parts[key] = lines[starts[index] : line + 1] + child
    gaps = [_blank_lines(part) for part in parts.values()]
    found: list[str] = []
    for gap, key in zip(gaps, _in_order(list(keys), list(fields)), strict=True):
        found += [""] * gap + parts[key][_blank_lines(parts[key]) :]
    return found


def _is_block(lines: list[str], node: Node, first: int, end: int) -> bool:
    """Tell whether a node is a mapping whose entries each start a line of their own there."""
    if not isinstance(node.value, dict) or not node.value:
        return False
    places = [entry.key_place for entry in node.value.values()]
    numbers = [place.line - 1 for place in places]
    return (
        numbers == sorted(set(numbers))
        and first <= numbers[0]
        and numbers[-1] < end
        and len({place.column for place in places}) == 1
        and not any(lines[n][: places[0].column - 1].strip() for n in numbers)
    )


def _above(lines: list[str], line: int) -> int:
    """Return where the blank lines and comments above a key start; deeper comments end what is before."""
    depth = len(lines[line]) - len(lines[line].lstrip())
    while _REMARK.fullmatch(above := lines[line - 1]):
        if above.strip() and len(above) - len(above.lstrip()) > depth:
            break
        line -= 1
    return line


def _blank_lines(part: list[str]) -> int:
    return next((i for i, line in enumerate(part) if line.strip()), 0)


def _laid_out(text: str) -> str:
    yaml = YAML()
    yaml.Emitter = _WholeScalars
    yaml.Resolver = _Words
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    _order(document, PortSpec)
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


class _WholeScalars(Emitter):
    """Breaks lists at the line's end, and never a text."""

    def process_scalar(self) -> None:
        width, self.best_width = self.best_width, 1 << 30
        try:
            super().process_scalar()
        finally:
            self.best_width = width


class _Words(VersionedResolver):
    """Takes every plain value for a word, so that numbers and dates stay as they are written."""

    @property
    def versioned_resolver(self) -> Any:
        return {}


def _order(node: Any, annotation: Any) -> None:
    """Sort the keys of mappings inside lists and lines, whose lines cannot be moved."""
    model, item = _shape(annotation)
    if isinstance(node, list):
        for child in node:
            _order(child, item)
    elif isinstance(node, CommentedMap):
        fields = _fields(model)
        wanted = _in_order(list(node), list(fields))
        if wanted != list(node):  # moving nothing keeps every comment exactly where it is
            for key in wanted:
                node.move_to_end(key)
        for key, child in node.items():
            _order(child, fields[key].annotation if key in fields else item)


def _in_order(keys: list[str], known: list[str]) -> list[str]:
    """Sort keys as the language does, those that it does not know last."""
    rank = {key: index for index, key in enumerate(known)}
    return sorted(keys, key=lambda key: rank.get(key, len(rank)))


def _fields(model: type[BaseModel] | None) -> dict[str, Any]:
    return {info.alias or name: info for name, info in model.model_fields.items()} if model else {}


def _shape(annotation: Any) -> tuple[type[BaseModel] | None, Any]:
    """Return the model that an annotation means, or else the annotation of what its container holds."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate, None
        if getattr(candidate, "__origin__", None) in (dict, list):
            return None, get_args(candidate)[-1]
    return None, None
