"""The target's own formatting: which files FastVideo's pre-commit formats, and in which style.

Files under tests/, scripts/, examples/ and fastvideo/models/ are left alone there
(.pre-commit-config.yaml of hao-ai-lab/FastVideo, commit 2f3d4074064e4d86f99dc784ebbaa296e6f5925f).
"""

from __future__ import annotations

import re

from portspec.render import format_python
from portspec.tree import Tree

_UNFORMATTED = (
    "tests/",
    "scripts/",
    "examples/",
    "docs/",
    "fastvideo/models/",
    "fastvideo/dataset/",
    "fastvideo/tests/",
)
_SECTION = re.compile(r"^\[tool\.yapf\]\s*\n((?:[^\[\n].*\n|\n)*)", re.MULTILINE)
_SETTING = re.compile(r"^(\w+)\s*=\s*(.+?)\s*$", re.MULTILINE)
_DEFAULT = {"column_limit": "120"}


def is_formatted(path: str) -> bool:
    """Tell whether FastVideo formats the file."""
    return path.endswith(".py") and not path.startswith(_UNFORMATTED)


def style_of(tree: Tree) -> str:
    """Return the YAPF style of a tree, from its pyproject.toml."""
    settings = dict(_DEFAULT)
    if tree.exists("pyproject.toml"):
        section = _SECTION.search(tree.text("pyproject.toml"))
        settings |= {k: v.strip("\"'") for k, v in _SETTING.findall(section[1])} if section else {}
    settings.setdefault("based_on_style", "pep8")
    return "{" + ", ".join(f"{k}: {v}" for k, v in sorted(settings.items())) + "}"


def formatted(tree: Tree, path: str, text: str) -> str:
    """Return the text as the target's formatter would leave it."""
    return (
        format_python(text, style_of(tree), tree.cache)
        if is_formatted(path) and text.strip()
        else text
    )


def formatted_statement(tree: Tree, statement: str, indent: int) -> str:
    """Format one statement as it would stand inside a function, and return it without indentation."""
    body = "\n".join(" " * indent + line if line else "" for line in statement.splitlines())
    text = formatted(tree, "fastvideo/statement.py", f"def scope():\n{body}\n")
    rows = text.splitlines()[1:]
    return "\n".join(row[indent:] for row in rows)
