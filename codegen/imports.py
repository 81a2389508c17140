"""Imports of an emitted module, collected while its body is made and rendered once, in order."""

from __future__ import annotations

import ast
import builtins
import sys

from portspec.codegen.index.configs import ConfigField
from portspec.tree import Tree, module_name

_LINE_LIMIT = 120


class Imports:
    """Names by module, as the body of the module under construction asks for them."""

    def __init__(self, own_module: str) -> None:
        self._own = own_module
        self._names: dict[str, set[str]] = {}
        self._modules: set[str] = set()

    def add(self, module: str, name: str) -> str:
        """Import `name` from `module` and return the name to use."""
        if module != self._own:
            self._names.setdefault(module, set()).add(name)
        return name

    def add_ref(self, ref: str) -> str:
        """Import what `module:name` means and return the name to use."""
        module, _, name = ref.partition(":")
        return self.add(module, name)

    def add_module(self, module: str) -> None:
        """Import a module as a whole."""
        self._modules.add(module)

    def annotation(self, field: ConfigField, tree: Tree | None, fallback_module: str = "") -> str:
        """Return a field's annotation as its class writes it, importing what it names.

        Args:
            field: The field of an existing class.
            tree: The tree that the class is in; without it, the annotation must name builtins only.
            fallback_module: Module to import unknown names from.
        """
        text = (field.annotation or "object").replace("torch.tensor", "torch.Tensor")
        facts = tree.module(field.path) if tree else None
        for node in ast.walk(ast.parse(text, mode="eval")):
            if not isinstance(node, ast.Name) or hasattr(builtins, node.id):
                continue
            source = facts.imported.get(node.id) if facts else None
            if source and source.symbol is None:
                self.add_module(source.module)
            elif source and source.symbol:
                self.add(source.module, source.symbol)
            else:
                self.add(module_name(field.path)[0] if tree else fallback_module, node.id)
        return " ".join(text.split())

    def render(self) -> str:
        """Return the import block: standard library, third party, FastVideo, one blank line between."""
        groups: tuple[list[str], list[str], list[str]] = ([], [], [])
        for module in sorted(self._modules):
            groups[_group(module)].append(f"import {module}")
        for module in sorted(self._names):
            groups[_group(module)].append(_from(module, sorted(self._names[module])))
        return "\n\n".join("\n".join(group) for group in groups if group)


def _group(module: str) -> int:
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return 0
    return 2 if top == "fastvideo" else 1


def _from(module: str, names: list[str]) -> str:
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= _LINE_LIMIT:
        return line
    rows = "".join(f"    {name},\n" for name in names)
    return f"from {module} import (\n{rows})"
