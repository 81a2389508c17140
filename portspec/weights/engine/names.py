r"""Rename rules: ordered regular expressions, of which the first that matches a name wins.

Semantics are those of FastVideo 0.2.1 (`get_param_names_mapping` in fastvideo/models/loader/utils.py): first
`re.match` decides, then `re.sub` replaces. Beyond them, `{...}` in a replacement is integer arithmetic over
groups and config values, as `up_blocks.{\1 // 4}.resnets.{\1 % 4}`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from portspec.weights.engine.alike import Alike, Row

_OPERATORS: Mapping[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_PART = re.compile(r"\\(?P<number>[1-9]\d?)|\\g<(?P<name>\w+)>|\{(?P<sum>[^{}]*)\}")
_ESCAPE = re.compile(r"\\[\\A-Za-z0-9]")
_GROUP = re.compile(r"\\([1-9]\d?)|\\g<(\w+)>")

_Maker = Callable[[Sequence[str]], Iterable[str]]


def evaluate(expression: str | int, values: Mapping[str, int]) -> int:
    """Work out integer arithmetic over named values: `+ - * // %`, parentheses and numbers.

    Raises:
        ValueError: It is something else, or a name has no value.

    Example:
        >>> evaluate("heads * (head_dim + 1)", {"heads": 4, "head_dim": 63})
        256
    """
    if isinstance(expression, int):
        return expression
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, values)
    except (SyntaxError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"{expression!r} is no integer arithmetic: {error}") from error


def _value(node: ast.expr, values: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Name(id=name):
            found = values.get(name)
            if isinstance(found, bool) or not isinstance(found, int):
                told = f"group {name[2:]}" if name.startswith("_g") else name
                raise ValueError(f"{told} has no integer value here")
            return found
    raise ValueError(f"{ast.unparse(node)} is no integer arithmetic")


class Template:
    r"""A replacement, as pieces: literal text, a group, or arithmetic.

    Example:
        >>> template = Template(r"up_blocks.{\1 // 4}.resnets.{\1 % 4}.\2")
        >>> template.fill(re.match(r"up\.(\d+)\.(.*)", "up.6.norm"), {})
        'up_blocks.1.resnets.2.norm'
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces: list[
            str | int | tuple[str, str]
        ] = []  # a str is a group's name or ("", literal)
        position = 0
        for found in _PART.finditer(text):
            self._literal(text[position : found.start()])
            self.pieces.append(_piece(found))
            position = found.end()
        self._literal(text[position:])

    def _literal(self, text: str) -> None:
        if text:
            self.pieces.append(("", text))

    def check(self, pattern: re.Pattern[str]) -> None:
        r"""Refuse groups that a pattern has not, and escapes such as `\n`, which no name needs.

        Raises:
            ValueError: There is one.
        """
        for piece in self.pieces:
            known = piece in pattern.groupindex if isinstance(piece, str) else True
            if isinstance(piece, int):
                known = piece <= pattern.groups
            if isinstance(piece, tuple) and not piece[0] and _ESCAPE.search(piece[1]):
                known = False
            if not known:
                told = f"group {piece}" if not isinstance(piece, tuple) else f"escape in {piece[1]}"
                raise ValueError(f"{self.text} has a {told}, and '{pattern.pattern}' gives none")

    def fill(self, found: re.Match[str], values: Mapping[str, int]) -> str:
        """Return the text for one match."""
        return "".join(_text(piece, found, values) for piece in self.pieces)


def _piece(found: re.Match[str]) -> str | int | tuple[str, str]:
    if found["number"]:
        return int(found["number"])
    if found["name"]:
        return int(found["name"]) if found["name"].isdigit() else found["name"]
    return "=", _GROUP.sub(lambda m: f"_g{m[1] or m[2]}", found["sum"])


def _text(
    piece: str | int | tuple[str, str], found: re.Match[str], values: Mapping[str, int]
) -> str:
    if not isinstance(piece, tuple):
        return found[piece] or ""
    kind, text = piece
    if not kind:
        return text
    groups = {f"_g{name}": value for name, value in found.groupdict().items()}
    groups |= {f"_g{number}": value for number, value in enumerate(found.groups(), 1)}
    numbers = {name: int(value) for name, value in groups.items() if (value or "").isdecimal()}
    return str(evaluate(text, {**values, **numbers}))


class Names:
    """Templates to fill for a name, by the first of several patterns that matches it.

    What is found out for one name is used for all that read alike to the patterns.
    """

    def __init__(
        self,
        rules: Sequence[tuple[str, Sequence[str]]],
        values: Mapping[str, int] | None = None,
    ) -> None:
        """Compile `rules`: each a pattern, and the templates to fill when it is the first to match.

        Raises:
            ValueError: A template names a group that its pattern has not, or has an escape beside groups.
        """
        self._patterns = [re.compile(pattern) for pattern, _ in rules]
        self._templates = [[Template(text) for text in texts] for _, texts in rules]
        for pattern, templates in zip(self._patterns, self._templates, strict=True):
            for template in templates:
                template.check(pattern)
        self._values = dict(values or {})
        self._alike = Alike(pattern for pattern, _ in rules)
        self._plans: dict[Hashable, tuple[int, list[_Maker]]] = {}

    def route(self, name: str) -> Row:
        """Return the rule that a name meets, or -1, and its templates filled.

        Raises:
            ValueError: Arithmetic in a template has no result.
        """
        return self.routes([name])[0]

    def routes(self, names: Sequence[str]) -> list[Row]:
        """Route many names, in order."""
        return list(self._alike.spread(names, self._rows))

    def _rows(self, alike: Hashable, names: Sequence[str]) -> Iterable[Row]:
        plan = self._plans.get(alike)
        if plan is None:
            plan = self._plans[alike] = self._plan(names[0])
        rule, makers = plan
        return zip(repeat(rule, len(names)), *[make(names) for make in makers], strict=True)

    def numbered(self, name: str, rule: int, count: int) -> tuple[str, ...]:
        """Return the first template of a rule filled `count` times, with `i` counting from 0."""
        pattern, template = self._patterns[rule], self._templates[rule][0]
        several = ({**self._values, "i": i} for i in range(count))
        return tuple(_substitute(pattern, template, name, values) for values in several)

    def _plan(self, name: str) -> tuple[int, list[_Maker]]:
        for rule, pattern in enumerate(self._patterns):
            if pattern.match(name):
                return rule, [self._maker(pattern, t, name) for t in self._templates[rule]]
        return -1, []

    def _maker(self, pattern: re.Pattern[str], template: Template, name: str) -> _Maker:
        """Return what fills a template for names that read like this one."""
        arithmetic = any(isinstance(piece, tuple) and piece[0] for piece in template.pieces)
        text, columns = "", []
        for span in () if arithmetic else _spans(pattern, template, name):
            if isinstance(span, str):
                text += span
                continue
            digits = (at for at in range(*span) if name[at].isdigit())
            columns += [(len(text) + at - span[0], at) for at in digits]
            text += name[slice(*span)]
        if arithmetic or not (name + text).isascii() or "\n" in name + text:
            return lambda names: [_substitute(pattern, template, n, self._values) for n in names]
        return lambda names: _filled(text, columns, names)


def _spans(
    pattern: re.Pattern[str], template: Template, name: str
) -> Iterator[str | tuple[int, int]]:
    """Yield what a substitution makes of a name: literal text, and where the rest lies in the name."""
    position = 0
    for found in pattern.finditer(name):
        yield position, found.start()
        for piece in template.pieces:
            yield piece[1] if isinstance(piece, tuple) else found.span(piece)
        position = found.end()
    yield position, len(name)


def _filled(text: str, columns: Sequence[tuple[int, int]], names: Sequence[str]) -> list[str]:
    """Return a text for each name, with the name's own digits in it.

    The names, one a line, are a table whose columns are all but equal; `columns` says which one of the texts
    is which one of the names.
    """
    told = "\n".join((*names, "")).encode()
    filled = bytearray(f"{text}\n".encode() * len(names))
    for to, at in columns:
        filled[to :: len(text) + 1] = told[at :: len(names[0]) + 1]
    return filled.decode().split("\n")[:-1]


def _substitute(
    pattern: re.Pattern[str], template: Template, name: str, values: Mapping[str, int]
) -> str:
    return pattern.sub(lambda found: template.fill(found, values), name)
