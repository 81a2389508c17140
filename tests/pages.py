"""The pages of codes, with their examples as data: a change to a file, and what portspec says about it.

A page's example is either a `diff` (against the repository's specs, or the released FastVideo tree) with the
`console` block that it leads to, or a `python` block of doctests, or a `console` block alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portspec.commands.explain import code_pages

_BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Page:
    """One page of the catalogue."""

    code: str
    path: Path
    text: str

    def blocks(self, kind: str) -> list[str]:
        return [m["body"] for m in _BLOCK.finditer(self.text) if m["kind"] == kind]

    @property
    def command(self) -> str:
        """The command line of the console block, without the prompt."""
        consoles = self.blocks("console")
        return consoles[0].splitlines()[0].removeprefix("$ ") if consoles else ""

    @property
    def output(self) -> str:
        """What the console block says is printed."""
        consoles = self.blocks("console")
        return "".join(f"{line}\n" for line in consoles[0].splitlines()[1:]) if consoles else ""

    def rewritten(self, output: str) -> str:
        """Return the page with another output."""
        console = self.blocks("console")[0]
        return self.text.replace(console, f"$ {self.command}\n{output}")


def pages() -> Iterator[Page]:
    """Yield every page, in the order of the codes."""
    for code, path in code_pages().items():
        yield Page(code, path, path.read_text(encoding="utf-8"))


def apply_diff(diff: str, read: object) -> dict[str, str]:
    """Apply a diff without line numbers: each hunk's old lines must stand exactly once in the file.

    Args:
        diff: `--- path` lines, each followed by hunks that start with `@@`.
        read: Function from a path to its text, or to None for a file that is to be made.
    """
    texts: dict[str, str] = {}
    for part in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        head, _, rest = part.partition("\n")
        path = head.strip()
        text = texts.get(path) or read(path) or ""  # type: ignore[operator]
        for hunk in re.split(r"^@@.*\n", rest, flags=re.MULTILINE)[1:]:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[:1] in "- \n")
            new = "".join(
                line[1:] if line[:1] != "\n" else line for line in lines if line[:1] in "+ \n"
            )
            if text.count(old) != 1 and old:
                raise AssertionError(f"{path} holds this {text.count(old)} times:\n{old}")
            text = text.replace(old, new) if old else text + new
        texts[path] = text
    return texts
