"""A conversion script that stands alone: declarations first, then the engine that `portspec convert` runs.

The engine's modules are copied as they are, one behind the other; only their imports of each other go.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from portspec.port import Port
from portspec.render import render
from portspec.weights import engine
from portspec.weights.conversion import configs, declaration

_FOLDER = Path(engine.__file__).parent
_PACKAGE = engine.__name__
_TOP = f"{_PACKAGE}.convert"
_WIDTH = 100

Declarations = Mapping[str, Mapping[str, Any]]  # component -> its conversion


def script(port: Port, head: str) -> str:
    """Return the text of a script that converts every variant of a port.

    Args:
        port: The port; at least one of its components has a conversion.
        head: A comment for its first line.
    """
    variants = list(port.spec.scope.variants) if port.spec.scope else [""]
    components = {v: _declarations(port, v) for v in variants}
    names = sorted({op for table in components.values() for op in _operations(table)})
    imports, bodies = port.tree.cache.memo("engine", " ".join(names), lambda: _engine(names))
    values = {
        "head": head,
        "family": port.family,
        "title": port.spec.title,
        "imports": imports,
        "components": _by_variant(components),
        "configs": _by_variant({v: configs(port, v) for v in variants}),
        "engine": "\n\n\n".join(bodies),
        "operations": {name: _class_name(name) for name in names},
        "variants": variants,
    }
    return render(Path(__file__).parent / "script.py.jinja", values)


def _declarations(port: Port, variant: str) -> dict[str, dict[str, Any]]:
    converted = (c for c in port.components.values() if c.spec.conversion)
    return {c.name: declaration(c, variant) for c in converted}


def _operations(declarations: Declarations) -> Iterator[str]:
    for table in declarations.values():
        for _, _, operations, join in table.get("rules", ()):
            after = join[4] if join and len(join) > 4 else ()
            yield from (name for name, _ in (*operations, *after))


def _class_name(operation: str) -> str:
    return "".join(word.title() for word in operation.split("_"))


def _by_variant(tables: Mapping[str, Any]) -> str:
    """Write what each variant has, once where all have the same."""
    first = next(iter(tables.values()))
    if all(table == first for table in tables.values()):
        return f"dict.fromkeys({list(tables)!r}, {literal(first)})"
    return literal(tables)


def literal(value: Any, indent: int = 0) -> str:
    r"""Write data as Python, on one line where it fits, patterns in raw strings.

    Example:
        >>> print(literal({"rules": [("^a\\.(.*)$", ["b"], [], None)]}))
        {"rules": [(r"^a\.(.*)$", ["b"], [], None)]}
    """
    flat = _flat(value)
    if len(flat) + indent <= _WIDTH or not isinstance(value, (Mapping, list, tuple)) or not value:
        return flat
    space = " " * (indent + 4)
    if isinstance(value, Mapping):
        rows = [f"{_flat(key)}: {literal(item, indent + 4)}" for key, item in value.items()]
        opening, closing = "{", "}"
    else:
        rows = [literal(item, indent + 4) for item in value]
        opening, closing = "()" if isinstance(value, tuple) else "[]"
    inner = "".join(f"{space}{row},\n" for row in rows)
    return f"{opening}\n{inner}{' ' * indent}{closing}"


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_flat(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_flat, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flat, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _text(value: str) -> str:
    if '"' in value or not value.isprintable() or value.endswith("\\"):
        return repr(value)
    return f'r"{value}"' if "\\" in value else f'"{value}"'


def _engine(operations: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the imports and the text of the engine with some operations."""
    return _taken_apart(_ordered([_TOP, *(f"{_PACKAGE}.ops.{name}" for name in operations)]))


def _ordered(wanted: Iterable[str]) -> list[str]:
    """Return modules of the engine with all that they import, each behind what it imports."""
    found: list[str] = []

    def visit(module: str) -> None:
        if module in found or module in open_:
            return
        open_.add(module)
        for other in _imported(ast.parse(_source(module))):
            visit(other)
        found.append(module)

    open_: set[str] = set()
    for module in wanted:
        visit(module)
    return found


def _source(module: str) -> str:
    relative = module.removeprefix(_PACKAGE).strip(".").replace(".", "/")
    file = _FOLDER / f"{relative}.py"
    return (file if file.is_file() else _FOLDER / relative / "__init__.py").read_text("utf-8")


def _imported(tree: ast.Module) -> Iterator[str]:
    yield from (node.module for node in ast.walk(tree) if _is_own(node))  # type: ignore[attr-defined]


def _is_own(node: ast.AST) -> bool:
    """Tell whether a statement imports another module of the engine."""
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(_PACKAGE)


def _taken_apart(modules: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the imports of other packages, sorted, and the modules without any at their top."""
    imports: set[str] = set()
    bodies = []
    for module in modules:
        text = _source(module)
        tree = ast.parse(text)
        gone: list[ast.stmt] = [node for node in ast.walk(tree) if _is_own(node)]  # type: ignore[misc]
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)) and node not in gone:
                gone.append(node)
                if getattr(node, "module", "") != "__future__":
                    imports.update(_single(node))
        title = (ast.get_docstring(tree) or "").partition("\n")[0]
        gone.append(tree.body[0])
        bodies.append(f"# --- {title}\n\n{_without(text, gone).strip()}")
    return sorted(imports, key=lambda line: (line.startswith("from"), line)), bodies


def _single(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yield an import as statements of one name each."""
    for alias in node.names:
        yield ast.unparse(
            ast.Import([alias])
            if isinstance(node, ast.Import)
            else ast.ImportFrom(node.module, [alias], 0)
        )


def _without(text: str, gone: Iterable[ast.stmt]) -> str:
    """Return the text without the lines of some statements."""
    lines = text.splitlines(keepends=True)
    for node in gone:
        for number in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[number] = ""
    return "".join(lines)
