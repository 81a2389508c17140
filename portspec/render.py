"""The one Jinja environment, and Python source for values: layout in templates, logic in Python.

Templates stand beside their emitters and hold no expression longer than a name or a filter. What a
template does not get, it must not use: undefined names are errors.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portspec.cache import Cache, cache_root, sha256

if TYPE_CHECKING:
    from jinja2 import Environment


@lru_cache(maxsize=4)
def environment(folder: Path) -> Environment:
    """Return the environment for the templates of a folder."""
    from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined

    bytecode = cache_root() / "templates"
    try:
        bytecode.mkdir(parents=True, exist_ok=True)
        compiled = FileSystemBytecodeCache(str(bytecode))
    except OSError:
        compiled = None
    env = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        bytecode_cache=compiled,
    )
    env.filters.update(py=python, pytext=python_text, comment=comment, wrap=wrap)
    return env


def render(template: Path, context: Mapping[str, Any]) -> str:
    """Render one template file."""
    return environment(template.parent).get_template(template.name).render(context)


def python(value: Any) -> str:
    """Return a value as Python source, with double quotes.

    Example:
        >>> python({"a": [1, 2.5, None], "b": "x"})
        '{"a": [1, 2.5, None], "b": "x"}'
    """
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{python(k)}: {python(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(python(v) for v in value) + "]"
    if isinstance(value, tuple):
        return "(" + ", ".join(python(v) for v in value) + (", )" if len(value) == 1 else ")")
    if isinstance(value, float) and not isfinite(value):
        return f'float("{value}")'
    return repr(value)


def python_text(text: Any, indent: int = 0, width: int = 116) -> str:
    """Return a text as Python source that keeps within `width`, as adjacent literals in parentheses.

    Args:
        text: The text.
        indent: Column of the first literal.
        width: Last column that may be used.
    """
    if not isinstance(text, str) or indent + len(python(text)) <= width:
        return python(text)
    room = width - indent - 4
    lines = textwrap.wrap(text, room, drop_whitespace=False, break_on_hyphens=False)
    pad = "\n" + " " * (indent + 1)
    return "(" + pad.join(python(line) for line in lines) + ")"


def comment(text: str, indent: int = 0, width: int = 120) -> str:
    """Return a text as comment lines; the first is not indented, since the template is."""
    rows = textwrap.wrap(text, width - indent - 2, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(f"# {row}" for row in rows)


def wrap(text: str, indent: int = 0, width: int = 120) -> str:
    """Wrap prose for a docstring; every line but the first is indented."""
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    rows = textwrap.wrap(escaped, width - indent, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(rows)


def format_python(text: str, style: str, cache: Cache) -> str:
    """Format source with the target's own formatter, YAPF; answers are remembered by content.

    Args:
        text: Python source.
        style: A YAPF style, such as `{based_on_style: pep8, column_limit: 120}`.
        cache: Where formatted text is remembered.
    """
    return str(cache.memo("yapf", sha256(style, text), lambda: _yapf(text, style)))


def _yapf(text: str, style: str) -> str:
    from yapf.yapflib.yapf_api import FormatCode

    formatted, _ = FormatCode(text, style_config=style)
    return str(formatted)
