"""A spec file -> a validated `PortSpec` with the place of every value.

Joins the reader (`load`), inheritance (`extend`) and the models (`spec`), and turns what pydantic
finds into diagnostics that name the line, the cause and the remedy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from portspec.cache import Cache
from portspec.errors import Diagnostic, Place, SpecError
from portspec.extend import merge
from portspec.load import Document, KeyPath, Marks, Node, read_document
from portspec.spec import PortSpec
from portspec.suggest import did_you_mean

MAX_DEPTH = 8
_SECRET = "token_env"  # where authors write the token itself by mistake
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
    "too_short": ("at least", "min_length"),
    "too_long": ("at most", "max_length"),
}
_EXPECTED = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}


@dataclass(frozen=True)
class LoadedSpec:
    """A spec with all that it extends laid under it."""

    spec: PortSpec
    marks: Marks
    path: Path
    shown: str
    files: tuple[tuple[str, str], ...]  # (file, sha256) of the spec and of everything it extends
    paths: tuple[Path, ...]  # the same files, as they are opened
    own_keys: frozenset[KeyPath]  # paths that the spec itself states, inherited ones left out
    root: Node
    tried: tuple[Path, ...] = ()  # where `extends` was looked up: what appears there may come first

    def states(self, *path: str | int) -> bool:
        """Tell whether the spec itself says the value at `path`, or an ancestor does."""
        return path in self.own_keys

    def folder_of(self, *path: str | int) -> Path:
        """Return the folder of the file in which a value stands: a file beside it is looked for there."""
        file = self.marks.at(*path).file
        return next((p.parent for p in self.paths if _shown(p) == file), self.path.parent)

    def plain_at(self, path: KeyPath) -> Any:
        """Return the scalar that stands at `path`, or None for a mapping or a list."""
        node = self.root
        for part in path:
            node = node.value[part].node if isinstance(node.value, dict) else node.value[part]
        return None if isinstance(node.value, (dict, list)) else node.value


def load_spec(path: Path, cache: Cache | None = None) -> LoadedSpec:
    """Read, extend and validate the spec at `path`.

    Raises:
        SpecError: E00x for text that cannot be read, E01x for a bad `extends`, E10x for content that
            does not fit the language.
    """
    shown = _shown(path)
    chain = read_chain(path, cache)
    document = chain[-1][1]
    for _, nearer in reversed(chain[:-1]):
        document = merge(nearer, document)
    marks = document.marks()
    paths = tuple(file for file, _ in chain)
    own = frozenset(chain[0][1].marks().values)
    tried = tuple(p for link in chain if (found := _extended(*link)) for p in _tried(*found))
    spec = validate(document, marks)
    return LoadedSpec(spec, marks, path, shown, document.files, paths, own, document.root, tried)


def read_chain(path: Path, cache: Cache | None = None) -> list[tuple[Path, Document]]:
    """Read a spec and, one after the other, what it extends; the spec itself comes first."""
    chain = [(path.resolve(), read_document(path, _shown(path), cache))]
    while (parent := _parent(*chain[-1])) is not None:
        parent_path, place = parent
        if parent_path in {p for p, _ in chain}:
            names = " -> ".join(p.stem for p in [*(p for p, _ in chain), parent_path])
            message = f"`extends` runs in a circle: {names}"
            remedy = "Let the spec that has what the others share extend none."
            raise SpecError([Diagnostic("E011", message, place, remedy)])
        if len(chain) > MAX_DEPTH:
            message = f"more than {MAX_DEPTH} specs extend each other"
            remedy = "Let the spec extend one that is further up."
            raise SpecError([Diagnostic("E011", message, place, remedy)])
        chain.append((parent_path, read_document(parent_path, _shown(parent_path), cache)))
    return chain


def _parent(path: Path, document: Document) -> tuple[Path, Place] | None:
    extended = _extended(path, document)
    if extended is None:
        return None
    folder, name = extended
    place = document.root.value["extends"].node.place
    last = _tried(folder, name)[-1]
    if _is_file(last):
        return last.resolve(), place
    known = sorted(p.stem for p in folder.glob("*.yaml") if p != path)
    remedy = did_you_mean(name, known, f"Specs in {_shown(folder)}: {', '.join(known) or 'none'}.")
    raise SpecError(
        [Diagnostic("E010", f'it extends "{name}", and there is no such spec', place, remedy)]
    )


def _extended(path: Path, document: Document) -> tuple[Path, str] | None:
    """Return what a spec extends, as it says, and the folder from which that is looked up."""
    entry = document.root.value.get("extends")
    if entry is None or entry.node.value is None:
        return None
    if not isinstance(entry.node.value, str):
        remedy = "A spec extends one other: write its name, as `extends: wan`."
        message = "`extends` must be a name or a path"
        raise SpecError([Diagnostic("E010", message, entry.node.place, remedy)])
    return path.parent, entry.node.value


def _tried(folder: Path, name: str) -> list[Path]:
    """Return the paths that are looked at for a name, up to the first that is a file."""
    if name.endswith((".yaml", ".yml")):
        return [folder / name]
    parent = folder.parent
    folders = (folder, parent, parent.parent / "specs")
    candidates = [place / f"{name}.yaml" for place in folders]
    found = next((i for i, path in enumerate(candidates) if _is_file(path)), len(candidates))
    return candidates[: found + 1]


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - a name that is too long is no file, either


def _shown(path: Path) -> str:
    """Show a path relative to the working folder when it lies below it."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def validate(document: Document, marks: Marks) -> PortSpec:
    """Check the document against the language.

    Raises:
        SpecError: E101 unknown key, E102 missing key, E103 wrong type, E104 not one of the choices,
            E105 malformed, E106 out of range.
    """
    try:
        return PortSpec.model_validate(document.root.plain())
    except ValidationError as error:
        found = [_explain(item, marks) for item in error.errors(include_url=False)]
        raise SpecError(_root_causes(found)) from None


def _root_causes(found: list[tuple[KeyPath, Diagnostic]]) -> list[Diagnostic]:
    """Drop complaints about the inside of a value that is itself of the wrong type."""
    wrong = {path for path, d in found if d.code == "E103"}
    return [d for path, d in found if not any(path[:n] in wrong for n in range(1, len(path)))]


def _explain(item: Any, marks: Marks) -> tuple[KeyPath, Diagnostic]:
    path: KeyPath = tuple(p for p in item["loc"] if p != "[key]")
    kind, context = item["type"], item.get("ctx", {})
    where = ".".join(str(p) for p in path)
    if kind == "extra_forbidden":
        name = str(path[-1])
        legal = _legal_keys(path[:-1])
        remedy = did_you_mean(name, legal, f"Keys that may stand here: {', '.join(legal)}.")
        parent = ".".join(str(p) for p in path[:-1]) or "a spec"
        return path, Diagnostic("E101", f'{parent} has no key "{name}"', marks.key(*path), remedy)
    if kind == "missing":
        parent = ".".join(str(p) for p in path[:-1]) or "the spec"
        place = marks.key(*path[:-1]) if len(path) > 1 else marks.at()
        message = f'{parent} does not say "{path[-1]}"'
        return path, Diagnostic(
            "E102", message, place, f"Add `{path[-1]}:` here. {_describe(path)}".strip()
        )
    if kind == "literal_error":
        choices = [
            c.strip(" '") for c in str(context.get("expected", "")).replace(" or ", ", ").split(",")
        ]
        given = item.get("input")
        remedy = f"Choices: {', '.join(choices)}."
        if isinstance(given, str):
            remedy = did_you_mean(given, choices, remedy)
        if given in choices:
            remedy = "Write it without quotes."
        return path, Diagnostic("E104", f"{where} cannot be {given!r}", marks.at(*path), remedy)
    if kind in ("string_pattern_mismatch", "string_too_short", "string_too_long"):
        remedy = f"{_describe(path)} {_shape(context)}".strip()
        if item["loc"][-1] == "[key]":
            return path, Diagnostic(
                "E105", f"the key {where} is malformed", marks.key(*path), remedy
            )
        given = "" if path[-1] == _SECRET else f": {_short(item.get('input'))}"
        return path, Diagnostic("E105", f"{where} is malformed{given}", marks.at(*path), remedy)
    if kind in _BOUNDS:
        bound, key = _BOUNDS[kind]
        verb, unit, given = "must be", "", _short(item.get("input"))
        if key.endswith("_length"):
            verb, given = "must have", context["actual_length"]
            unit = " entry" if context[key] == 1 else " entries"
        message = f"{where} {verb} {bound} {context[key]:g}{unit}, not {given}"
        return path, Diagnostic("E106", message, marks.at(*path), _describe(path))
    message = f"{where} must be {_EXPECTED.get(kind, kind)}, not {_short(item.get('input'))}"
    remedy = f"{_describe(path)} {_form(kind, path)}".strip()
    return path, Diagnostic("E103", message, marks.at(*path), remedy)


def _shape(context: Any) -> str:
    if "pattern" in context:
        return f"It must match {context['pattern']}."
    if "min_length" in context:
        return f"It must have at least {context['min_length']} characters."
    return f"It must have at most {context['max_length']} characters."


def _form(kind: str, path: KeyPath) -> str:
    """Say how a value of the right type is written, where that is no matter of course."""
    match kind:
        case "model_type":
            return f"Its keys: {', '.join(_legal_keys(path))}."
        case "list_type":
            return "A list of one is written `[value]`."
        case "string_type":
            return "Quote what YAML takes for a number, true or false."
        case "bool_type":
            return "YAML 1.2 takes yes, no, on and off for texts."
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fields_at(path: KeyPath) -> dict[str, Any]:
    """Return the fields that may stand under `path`, by the name an author writes."""
    annotation: Any = PortSpec
    for part in path:
        annotation = _child_annotation(annotation, part)
    model = _as_model(annotation)
    return {info.alias or name: info for name, info in model.model_fields.items()} if model else {}


def _child_annotation(annotation: Any, part: str | int) -> Any:
    for candidate in (annotation, *get_args(annotation)):
        if getattr(candidate, "__origin__", None) in (dict, list):
            return get_args(candidate)[-1]
    model = _as_model(annotation)
    for name, info in model.model_fields.items() if model else ():
        if part in (info.alias, name):
            return info.annotation
    return None


def _as_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
        if getattr(candidate, "__origin__", None) in (dict, list):
            return None
    return None


def _legal_keys(path: KeyPath) -> list[str]:
    return list(_fields_at(path))


def _describe(path: KeyPath) -> str:
    """Return the language reference's text for the field at `path`, as a remedy."""
    for end in range(len(path), 0, -1):
        info = _fields_at(path[: end - 1]).get(str(path[end - 1]))
        if info is not None:
            return str(info.description or "")
    return ""
