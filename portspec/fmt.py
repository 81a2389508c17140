"""A spec's one layout: keys in the order of the language, two spaces, comments kept where they were.

Only the order of keys and the white space between them change; every value and every comment stays. The
result is read again and compared with what was there, so that formatting can never change a meaning.
"""

from __future__ import annotations

import io
from typing import Any, get_args

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.emitter import Emitter

from portspec.errors import PortspecBug
from portspec.load import parse
from portspec.spec import PortSpec

_WIDTH = 118


def format_spec(text: str, shown: str) -> str:
    """Return a spec's text in its one layout.

    Raises:
        SpecError: E00x it cannot be read.
        PortspecBug: Formatting would change what it says.
    """
    before = parse(text, shown).plain()
    yaml = YAML()
    yaml.Emitter = _WholeScalars
    yaml.representer.add_representer(type(None), _null)
    yaml.preserve_quotes = True
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    _order(document, PortSpec)
    out = io.StringIO()
    yaml.dump(document, out)
    after = "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n") + "\n"
    if parse(after, shown).plain() != before:
        raise PortspecBug(f"formatting {shown} would change what it says")
    return after


class _WholeScalars(Emitter):
    """Breaks lists at the line's end, and never a text."""

    def process_scalar(self) -> None:
        width, self.best_width = self.best_width, 1 << 30
        try:
            super().process_scalar()
        finally:
            self.best_width = width


def _null(representer: Any, _value: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _order(node: Any, annotation: Any) -> None:
    """Sort the keys of every section by the order of its model's fields, those it does not know last."""
    model, item = _shape(annotation)
    if isinstance(node, list):
        for child in node:
            _order(child, item)
    elif isinstance(node, CommentedMap) and model is None:
        for child in node.values():
            _order(child, item)
    elif isinstance(node, CommentedMap) and model is not None:
        fields = {info.alias or name: info for name, info in model.model_fields.items()}
        _sort(node, list(fields))
        for key, child in node.items():
            if key in fields:
                _order(child, fields[key].annotation)


def _sort(node: CommentedMap, order: list[str]) -> None:
    rank = {key: index for index, key in enumerate(order)}
    wanted = sorted(node, key=lambda key: rank.get(key, len(rank)))
    if wanted == list(node):
        return  # moving nothing keeps every comment exactly where it is
    for key in wanted:
        node.move_to_end(key)


def _shape(annotation: Any) -> tuple[type[BaseModel] | None, Any]:
    """Return the model that an annotation means, or else the annotation of what its container holds."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate, None
        if getattr(candidate, "__origin__", None) in (dict, list):
            return None, get_args(candidate)[-1]
    return None, None
