"""Which class a checkpoint's `_class_name` leads to: `fastvideo/models/registry.py` and `EntryClass`.

FastVideo first takes what its model files declare as `EntryClass`, then fills the gaps from the tables
in `models/registry.py`. A table row for a name that some file declares is therefore dead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from portspec.tree import Tree

MODEL_REGISTRY = "fastvideo/models/registry.py"
MODELS = "fastvideo/models/"


@dataclass(frozen=True)
class ModelRow:
    """`"Name": ("bucket", "module", "Class")` in one of the tables."""

    table: str
    key: str
    bucket: str
    module: str
    class_name: str
    line: int

    @property
    def ref(self) -> str:
        """Return the class it leads to."""
        return f"fastvideo.models.{self.bucket}.{self.module}:{self.class_name}"


@dataclass(frozen=True)
class EntryClass:
    """A class that a file declares with `EntryClass = ...`."""

    name: str
    path: str


def read_model_rows(tree: Tree) -> tuple[ModelRow, ...]:
    """Read every row of every table, in order."""
    if not tree.exists(MODEL_REGISTRY):
        return ()
    return tuple(
        row
        for node in tree.ast(MODEL_REGISTRY).body
        for name, value in _dict_assignment(node)
        for row in _rows(name, value)
    )


def _dict_assignment(node: ast.stmt) -> Iterator[tuple[str, ast.Dict]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() as value):
            yield name, value
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as value):
            yield name, value


def _rows(table: str, value: ast.Dict) -> Iterator[ModelRow]:
    for key, row in zip(value.keys, value.values, strict=True):
        match key, row:
            case (
                ast.Constant(value=str(name)),
                ast.Tuple(
                    elts=[
                        ast.Constant(value=str(bucket)),
                        ast.Constant(value=str(module)),
                        ast.Constant(value=str(class_name)),
                    ]
                ),
            ):
                yield ModelRow(table, name, bucket, module, class_name, key.lineno)


def read_entry_classes(
    tree: Tree, prefix: str, *, defining: bool = False
) -> tuple[EntryClass, ...]:
    """Read the `EntryClass` declarations of all files below `prefix`, in path order.

    With `defining`, files that define no class of their own are passed over, as the model registry does.
    """
    return tuple(
        EntryClass(name, path)
        for path in tree.paths(prefix)
        for name in _declared(tree, path)
        if not defining or tree.scan(path)["classes"]
    )


def _declared(tree: Tree, path: str) -> Iterator[str]:
    seen = tree.scan(path)
    if "EntryClass" not in seen["names"]:
        return
    value = seen["values"].get("EntryClass")
    if value is None:
        assignment = tree.module(path).assignment("EntryClass")
        value = assignment.value if assignment else None
    node = ast.parse(value, mode="eval").body if value else None
    elements = node.elts if isinstance(node, (ast.List, ast.Tuple)) else [node]
    for element in elements:
        match element:
            case ast.Name(id=name) | ast.Constant(value=str(name)):
                yield name
