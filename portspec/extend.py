"""`extends:` two document trees -> one, before anything is validated.

The nearer spec wins. Mappings are merged key by key, lists and single values are replaced, and `~`
(null) takes an inherited key away. A field's own policy (`spec.inherit_policy`) can forbid or replace
instead. Every value keeps the place it came from, in whichever file that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel

from portspec.load import Document, Entry, Node
from portspec.spec import PortSpec, inherit_policy


def merge(child: Document, parent: Document) -> Document:
    """Lay `child` over `parent`; the result lists the files of both."""
    root = _merge_model(child.root, parent.root, PortSpec)
    return Document(root, child.files + parent.files)


def _merge_model(child: Node, parent: Node, model: type[BaseModel]) -> Node:
    """Merge two mappings whose keys are the fields of `model`."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    entries: dict[str, Entry] = {}
    for key, entry in parent.value.items():
        info = fields.get(key)
        if key not in child.value and (info is None or inherit_policy(info) != "never"):
            entries[key] = Entry(entry.key_place, without_private(entry.node, info))
    for key, entry in child.value.items():
        info, inherited = fields.get(key), parent.value.get(key)
        if info is None or inherited is None or inherit_policy(info) != "merge":
            entries[key] = entry
        else:
            entries[key] = Entry(entry.key_place, _merge_value(entry.node, inherited.node, info))
    return Node(_without_nulls(entries), child.place)


def without_private(node: Node, info: Any) -> Node:
    """Drop from an inherited value what each spec must say for itself."""
    model, of_mapping = _model_of(info.annotation) if info else (None, False)
    if model is None or not isinstance(node.value, dict):
        return node
    if of_mapping:
        entries = {
            key: Entry(entry.key_place, _strip(entry.node, model))
            for key, entry in node.value.items()
        }
        return Node(entries, node.place)
    return _strip(node, model)


def _strip(node: Node, model: type[BaseModel]) -> Node:
    if not isinstance(node.value, dict):
        return node
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    entries = {
        key: Entry(entry.key_place, without_private(entry.node, fields.get(key)))
        for key, entry in node.value.items()
        if key not in fields or inherit_policy(fields[key]) != "never"
    }
    return Node(entries, node.place)


def _merge_value(child: Node, parent: Node, info: Any) -> Node:
    if not (isinstance(child.value, dict) and isinstance(parent.value, dict)):
        return child
    model, of_mapping = _model_of(info.annotation)
    if model is None:
        return Node(_overlay(child.value, parent.value), child.place)
    if not of_mapping:
        return _merge_model(child, parent, model)
    entries = {
        key: Entry(entry.key_place, _strip(entry.node, model))
        for key, entry in parent.value.items()
        if key not in child.value
    }
    for key, entry in child.value.items():
        inherited = parent.value.get(key)
        mergeable = (
            inherited is not None
            and isinstance(entry.node.value, dict)
            and isinstance(inherited.node.value, dict)
        )
        node = (
            _merge_model(entry.node, inherited.node, model)
            if mergeable and inherited
            else entry.node
        )
        entries[key] = Entry(entry.key_place, node)
    return Node(_without_nulls(entries), child.place)


def _overlay(child: Mapping[str, Entry], parent: Mapping[str, Entry]) -> dict[str, Entry]:
    return _without_nulls({**parent, **child})


def _without_nulls(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    return {key: entry for key, entry in entries.items() if entry.node.value is not None}


def _model_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Find the section model inside an annotation, and whether it sits in a mapping by name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    args = get_args(annotation)
    origin = getattr(annotation, "__origin__", None)
    for arg in args:
        model, nested = _model_of(arg)
        if model:
            return model, nested or origin is dict
    return None, False
