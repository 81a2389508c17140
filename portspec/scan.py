r"""Python source text -> the few facts that a whole checkout is asked for, without parsing it.

Parsing fifteen hundred files takes seconds; looking for imports and top-level names with regular expressions
takes a tenth of that. The price is exactness: text inside a string can look like an import. So a scan only
ever *suggests*. Who finds something wrong in what it says asks `pyfacts`, which parses, before speaking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_IMPORT = re.compile(
    r"from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n;#]*)"
    r"|import[ \t]+(?P<plain>[\w.][^\n;#]*)"
)
# These begin with the line break before the line, for which `re` can search much faster than for `^`.
_NAME = re.compile(r"\n(?:(class|(?:async[ \t]+)?def)[ \t]+(\w+)|(\w+)[ \t]*(?::[^=\n]+)?=(?!=))")
_SHORT = re.compile(
    r"\n(\w+)[ \t]*=[ \t]*(\w+|[\[(][\w\s,.\"']*[\])])[ \t]*(?:#.*)?$", re.MULTILINE
)
_COMMENT = re.compile(r"#[^\n]*")
_MAX_VALUE = 2000


def scan(text: str, module: str, *, is_package: bool) -> dict[str, Any]:
    """Return the imports, top-level names and short top-level values that a text seems to have.

    Args:
        text: The source.
        module: Dotted name of the module, used to resolve relative imports.
        is_package: Whether the file is a package's `__init__`.

    Returns:
        `imports`: [line, module, [symbols]], without symbols for `import module`; `names`; `classes`;
        `values`: name -> text of a name or of a list of names and strings; `dynamic`: names may exist
        that nothing shows.
    """
    package = module if is_package else module.rpartition(".")[0]
    lines = f"\n{text}"
    names, classes = set(), []
    for keyword, defined, assigned in _NAME.findall(lines):
        names.add(defined or assigned)
        if keyword == "class":
            classes.append(defined)
    imports = list(_imports(text, package))
    return {
        "imports": imports,
        "names": sorted(names),
        "classes": classes,
        "values": {n: v for n, v in _SHORT.findall(lines) if len(v) <= _MAX_VALUE},
        "dynamic": "__getattr__" in names or any("*" in symbols for _, _, symbols in imports),
    }


def _imports(text: str, package: str) -> Iterator[list[Any]]:
    line, position = 1, 0
    for found in _IMPORT.finditer(text):
        line += text.count("\n", position, found.start())
        position = found.start()
        if text[position - 1 : position].isidentifier():
            continue  # the tail of a longer word
        plain = found["plain"]
        if plain is not None:
            for part in plain.split(","):
                yield [line, part.split(" as ")[0].strip(), []]
            continue
        listed = _COMMENT.sub("", found["names"]).strip("() \t\n\\")
        symbols = [part.split(" as ")[0].strip() for part in listed.split(",")]
        yield [line, _absolute(found["module"], package), [s for s in symbols if s]]


def _absolute(module: str, package: str) -> str:
    stem = module.lstrip(".")
    level = len(module) - len(stem)
    if not level:
        return stem
    parts = package.split(".")
    base = ".".join(parts[: len(parts) - level + 1])
    return f"{base}.{stem}" if stem else base
