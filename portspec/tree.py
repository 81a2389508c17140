"""A read-only view of a source tree: its files, their facts, and changes laid over it that nobody wrote.

`Tree.overlay` is how a build is judged before it happens: the same checks read the tree as it is and the
tree as it would be. Paths are relative to the root, with forward slashes.
"""

from __future__ import annotations

import ast
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any

from portspec.cache import Cache, content_sha, sha256
from portspec.errors import Diagnostic, Place, TargetError
from portspec.pyfacts import Class, Module, parse, read_facts
from portspec.scan import scan

IGNORED_FOLDERS = frozenset(
    {
        ".git",
        ".venv",
        "__pycache__",
        "node_modules",
        ".portspec",
        ".mypy_cache",
        ".ruff_cache",
        "build",
    }
)


_NOTHING: Mapping[str, Any] = {
    "imports": [],
    "names": [],
    "classes": [],
    "values": {},
    "dynamic": False,
}
_LISTED = (".py", ".md", ".yaml", ".toml")


@dataclass(frozen=True, slots=True)
class ClassRef:
    """A class found in a tree: the file that defines it, and its facts."""

    module: str
    path: str
    facts: Class

    @property
    def ref(self) -> str:
        """Return it as `module:Class`."""
        return f"{self.module}:{self.facts.name}"


class Tree:
    """Files under a root folder, with an overlay of text that stands in for some of them."""

    def __init__(
        self,
        root: Path,
        cache: Cache,
        overlay: Mapping[str, str | None] | None = None,
        shown: str = "",
    ) -> None:
        self.root = root
        self.cache = cache
        self.shown = shown
        self._overlay = dict(overlay or {})
        self._known: dict[tuple[str, str, str], Any] = {}  # (what, path, hash) -> what was read
        self._own: dict[tuple[str, str], Any] = {}  # (what, path) -> the same
        self._paths: dict[str, str | None] = {}  # module -> file

    def overlay(self, changes: Mapping[str, str | None]) -> Tree:
        """Return the tree as it would be with `changes` (path -> text, or None for a deleted file)."""
        tree = Tree(self.root, self.cache, {**self._overlay, **changes}, self.shown)
        if "_disk" in self.__dict__:
            tree.__dict__["_disk"] = self._disk
        tree._known = self._known
        return tree

    def differences(self, other: Tree) -> list[str]:
        """Return the paths at which another tree over the same folder has another text, or none."""
        overlaid = sorted({*self._overlay, *other._overlay})
        return [path for path in overlaid if self._text_at(path) != other._text_at(path)]

    def _text_at(self, path: str) -> str | None:
        return self.text(path) if self.exists(path) else None

    def list_files(self) -> None:
        """Look at the whole folder once, so that later questions about files need no disk."""
        _ = self._disk

    @cached_property
    def _disk(self) -> dict[str, os.stat_result]:
        found: dict[str, os.stat_result] = {}
        stack = [str(self.root)]
        cut = len(str(self.root)) + 1
        self.cache.preload(str(self.root))
        while stack:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    if not is_text(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in IGNORED_FOLDERS:
                            stack.append(entry.path)
                    elif entry.name.endswith(_LISTED) and (stat := _stat(entry)):
                        found[entry.path[cut:]] = stat
        return found

    def paths(self, prefix: str = "", suffix: str = ".py") -> list[str]:
        """Return the paths that start with `prefix` and end with `suffix`, sorted."""
        start = bisect_left(self._all, prefix)
        found = []
        for path in self._all[start:]:
            if not path.startswith(prefix):
                break
            if path.endswith(suffix):
                found.append(path)
        return found

    @cached_property
    def _all(self) -> list[str]:
        overlaid = {p for p, text in self._overlay.items() if text is not None}
        return sorted(overlaid | (self._disk.keys() - self._overlay.keys()))

    def exists(self, path: str) -> bool:
        """Tell whether the file is there."""
        if path in self._overlay:
            return self._overlay[path] is not None
        if "_disk" in self.__dict__ and path.endswith(_LISTED):
            return path in self._disk
        return os.path.isfile(f"{self.root}/{path}")  # noqa: PTH113 - asked ten thousand times

    def has_folder(self, path: str) -> bool:
        """Tell whether the folder holds a file that counts."""
        return path in self._folders

    @cached_property
    def _folders(self) -> frozenset[str]:
        found: set[str] = set()
        for path in self._all:
            folder = path.rpartition("/")[0]
            while folder and folder not in found:
                found.add(folder)
                folder = folder.rpartition("/")[0]
        return frozenset(found)

    def text(self, path: str) -> str:
        """Return a file's text.

        Raises:
            TargetError: E301 it cannot be read.
        """
        if path in self._overlay:
            overlaid = self._overlay[path]
            if overlaid is None:
                raise self._missing(path, "it is deleted")
            return overlaid
        try:
            with (self.root / path).open(encoding="utf-8", newline="") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise self._missing(path, str(error)) from error

    def _missing(self, path: str, why: str) -> TargetError:
        return TargetError([Diagnostic("E301", f"cannot read {path}: {why}", self.place(path))])

    def place(self, path: str, line: int = 0, column: int = 0) -> Place:
        """Return a place in the tree, shown with the tree's own prefix."""
        return Place(f"{self.shown}/{path}" if self.shown else path, line, column)

    def sha(self, path: str) -> str:
        """Return the hash of a file's text."""
        if path in self._overlay:
            return content_sha(self._overlay[path] or "")
        listed = self.__dict__.get("_disk", {})  # do not walk a whole tree for the sake of one file
        stat = listed.get(path) or (self.root / path).stat()
        return self.cache.file_sha(f"{self.root}/{path}", stat)

    def digest(self, prefix: str = "") -> str:
        """Hash the names and contents of all files below a prefix that anybody reads."""
        return sha256(*(f"{p}\0{self.sha(p)}" for p in self.paths(prefix, suffix="")))

    def _remembered(self, what: str, path: str, compute: Callable[[], Any]) -> Any:
        """Return what was read of a file, once per tree, and once per text over all overlays."""
        mine = self._own.get((what, path))
        if mine is None:
            key = (what, path, self.sha(path))
            if key not in self._known:
                self._known[key] = compute()
            mine = self._own[what, path] = self._known[key]
        return mine

    def derived(self, what: str, path: str, compute: Callable[[], Any]) -> Any:
        """Return a JSON value that is computed from one file's text alone, remembered by that text."""

        def recall() -> Any:
            return self.cache.memo(what, f"{path}\0{self.sha(path)}", compute)

        return self._remembered(what, path, recall)

    def module(self, path: str) -> Module:
        """Return the facts of a file; one that is missing has none."""
        if not self.exists(path):
            return Module(path, {})
        name, is_package = module_name(path)

        def compute() -> Any:
            return read_facts(self.text(path), name, is_package=is_package)

        found: Module = self._remembered(
            "module", path, lambda: Module(path, self.derived("facts", path, compute))
        )
        return found

    def scan(self, path: str) -> Mapping[str, Any]:
        """Return what a file seems to import and define, without parsing it; see `portspec.scan`."""
        if ("scan", path) not in self._own and not self.exists(path):
            return _NOTHING
        name, is_package = module_name(path)

        def compute() -> Any:
            return scan(self.text(path), name, is_package=is_package)

        found: Mapping[str, Any] = self.derived("scan", path, compute)
        return found

    def ast(self, path: str) -> ast.Module:
        """Return the parsed file.

        Raises:
            TargetError: E302 it is not Python.
        """

        def compute() -> ast.Module:
            try:
                return parse(self.text(path))
            except SyntaxError as error:
                place = self.place(path, error.lineno or 1, error.offset or 0)
                message = f"this is not Python: {error.msg}"
                raise TargetError([Diagnostic("E302", message, place)]) from error

        found: ast.Module = self._remembered("ast", path, compute)
        return found

    def path_of(self, module: str) -> str | None:
        """Return the file of a dotted module name, or None when the tree has none."""
        if module not in self._paths:
            stem = module.replace(".", "/")
            candidates = (f"{stem}.py", f"{stem}/__init__.py")
            self._paths[module] = next((c for c in candidates if self.exists(c)), None)
        return self._paths[module]

    def locate(self, ref: str) -> tuple[str, str] | None:
        """Return (module, name) of the definition that `module:Class` means, following re-exports."""
        module, _, name = ref.partition(":")
        for _ in range(12):
            path = self.path_of(module)
            if path is None:
                return None
            if name in self.scan(path)["classes"]:
                return module, name
            imported = self.module(path).imported.get(name)
            if imported is None or imported.symbol is None:
                return None
            module, name = imported.module, imported.symbol
        return None

    def find_class(self, ref: str) -> ClassRef | None:
        """Find the class meant by `module:Class`, following re-exports to its definition."""
        found = self.locate(ref)
        path = self.path_of(found[0]) if found else None
        if found is None or path is None:
            return None
        facts = self.module(path).classes.get(found[1])
        return ClassRef(found[0], path, facts) if facts else None

    def has_symbol(self, ref: str) -> bool:
        """Tell whether `module:name` exists: defined, imported, or a submodule."""
        module, _, name = ref.partition(":")
        path = self.path_of(module)
        if path is None:
            return False
        seen = name in self.scan(path)["names"]
        return (
            seen or self.path_of(f"{module}.{name}") is not None or self.module(path).defines(name)
        )

    def bases(self, found: ClassRef) -> Iterator[ClassRef]:
        """Yield the class and its base classes that the tree defines, nearest first, each once."""
        seen: set[str] = set()
        queue = [found]
        while queue:
            current = queue.pop(0)
            if current.ref in seen:
                continue
            seen.add(current.ref)
            yield current
            queue += [base for name in current.facts.bases if (base := self._base(current, name))]

    def _base(self, current: ClassRef, name: str) -> ClassRef | None:
        head, _, rest = name.partition(".")
        facts = self.module(current.path)
        imported = facts.imported.get(head)
        if imported is None:
            return self.find_class(f"{current.module}:{name}")
        if rest:
            module = (
                imported.module
                if imported.symbol is None
                else f"{imported.module}.{imported.symbol}"
            )
            return self.find_class(f"{module}:{rest}")
        return self.find_class(f"{imported.module}:{imported.symbol}")

    def is_subclass(self, found: ClassRef, names: Iterable[str]) -> bool:
        """Tell whether the class or one of its bases has one of the given class names."""
        wanted = set(names)
        chain = list(self.bases(found))
        if any(c.facts.name in wanted for c in chain):
            return True
        return any(b.split(".")[-1] in wanted for c in chain for b in c.facts.bases)


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Describe a file; None for what is none, such as a pipe or a link to nothing."""
    try:
        stat = entry.stat()
    except OSError:
        return None
    return stat if S_ISREG(stat.st_mode) else None


def is_text(name: str) -> bool:
    r"""Tell whether a file name can be written down; nobody can import one that cannot.

    Example:
        >>> is_text("caf\xe9.py"), is_text("caf\udce9.py")
        (True, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def module_name(path: str) -> tuple[str, bool]:
    """Return the dotted name of a file, and whether it is a package's `__init__`.

    Example:
        >>> module_name("a/b/__init__.py"), module_name("a/c.py")
        (('a.b', True), ('a.c', False))
    """
    dotted = path.removesuffix(".py").replace("/", ".")
    if dotted == "__init__" or dotted.endswith(".__init__"):
        return dotted.removesuffix(".__init__"), True
    return dotted, False
