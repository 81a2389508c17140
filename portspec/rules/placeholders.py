"""Nothing of the skeleton is left: a placeholder that is built would be believed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port

_PLACEHOLDER = re.compile(r"\bFILL\b|\bTODO\b|\bFIXME\b")


def is_placeholder(text: object) -> bool:
    """Tell whether a value is still to be filled in."""
    return isinstance(text, str) and bool(_PLACEHOLDER.search(text))


def check(port: Port) -> Iterator[Diagnostic]:
    """E147 a value that is still to be filled in."""
    for path in port.marks.values:
        if is_placeholder(port.loaded.plain_at(path)):
            remedy = "Write what is true, or make it a question under `questions`."
            name = ".".join(str(part) for part in path)
            yield port.complain("E147", f"{name} is still to be filled in", path, remedy)
