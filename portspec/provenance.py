"""Sources of values: what a `source` text may say, and whether it is so.

A source that points into the official code is read and compared, by parsing alone: the default of a
parameter, a constant, or a quotation that must stand in the definition's text. A permalink cannot be
read offline and is taken at its word; a link to a branch is refused, since what it says will change.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from portspec.official import OfficialSource
from portspec.port import Port
from portspec.pyfacts import literal
from portspec.suggest import did_you_mean

_QUOTED = re.compile(r'^(?P<ref>[A-Za-z_][\w.]*:[A-Za-z_][\w.]*) "(?P<quote>.+)"$', re.DOTALL)
_REF = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\((?P<parameter>\w+)\))?$")
_POINTER = re.compile(r"^(?P<file>[\w./-]+\.json)#/(?P<pointer>[\w/.-]+)$")
_PERMALINK = re.compile(r"^https://[^\s]+/(blob|raw|resolve|tree|commit)/[0-9a-f]{40}(/|#|$)")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_SPELLINGS = {
    "fp32": ("float32", "fp32"),
    "bf16": ("bfloat16", "bf16"),
    "fp16": ("float16", "fp16", "half"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a source: its code is empty when it holds."""

    code: str = ""
    message: str = ""
    remedy: str = ""


HOLDS = Verdict()


def verify(port: Port, value: Any, source: str) -> Verdict:
    """Check that `source` is well formed and, where it can be read, that it says `value`."""
    if re.fullmatch(r"D\d{3}", source):
        return _decision(port, source)
    if source.startswith("https://"):
        return _link(source)
    if pointer := _POINTER.match(source):
        return _config(port, value, pointer["file"], pointer["pointer"])
    if quoted := _QUOTED.match(source):
        return _quotation(port.official, value, quoted["ref"], quoted["quote"])
    if matched := _REF.match(source):
        return _code(port.official, value, source, matched["parameter"])
    remedy = 'Write module:Function(parameter), module:SYMBOL "quote", file.json#/key, a permalink, or D001.'
    return Verdict("E603", f"this is not a source: {source}", remedy)


def _decision(port: Port, source: str) -> Verdict:
    if source in port.spec.decisions:
        return HOLDS
    return Verdict("E126", f"there is no decision {source}", add_decision(port))


def add_decision(port: Port) -> str:
    """Phrase the remedy for a decision that is not there; ids are too alike to guess which was meant."""
    known = ", ".join(port.spec.decisions) or "none"
    return f"Add it under `decisions`; this spec has {known} of its own, and none is inherited."


def _link(source: str) -> Verdict:
    if _PERMALINK.match(source):
        return HOLDS
    remedy = (
        "Link to a commit (40 digits after /blob/), so that it says tomorrow what it says today."
    )
    return Verdict("E608", "the link does not name a commit", remedy)


def _config(port: Port, value: Any, file: str, pointer: str) -> Verdict:
    for component in port.spec.components.values():
        instantiation = component.instantiation
        if instantiation and instantiation.config == file:
            if pointer not in instantiation.args:
                remedy = did_you_mean(
                    pointer, instantiation.args, "Add it to that component's `args`."
                )
                return Verdict("E604", f"{file} has no key {pointer} in this spec", remedy)
            return _compare(value, instantiation.args[pointer], source=f"{file}#/{pointer}")
    return Verdict(
        "E604", f"no component is built from {file}", "Name it as `instantiation.config`."
    )


def _quotation(official: OfficialSource, value: Any, ref: str, quote: str) -> Verdict:
    definition = official.find(ref)
    if definition is None:
        return _not_found(official, ref)
    if _squeeze(quote) not in _squeeze(definition.text):
        remedy = f"Quote it as it stands in {definition.file}:{definition.line}."
        return Verdict("E606", f"{ref} does not say {quote!r}", remedy)
    if not _says(quote, value):
        remedy = "Quote the words that hold the value, or correct the value."
        return Verdict("E605", f"the quotation does not say {value!r}", remedy)
    first = _NUMBER.search(quote)
    if _is_number(value) and first and not same(float(first[0]), value):
        remedy = "Quote less, so that the value is the first number, or correct the value."
        message = f"the quotation says {first[0]} before it says {value!r}"
        return Verdict("E605", message, remedy)
    return HOLDS


def _code(official: OfficialSource, value: Any, ref: str, parameter: str | None) -> Verdict:
    definition = official.find(ref)
    if definition is None:
        return _not_found(official, ref)
    if parameter is None:
        if definition.value is None:
            remedy = "Name a parameter in parentheses, or quote the words that hold the value."
            return Verdict("E603", f"{ref} is a {definition.kind}, which is no value", remedy)
        return _compare_text(value, definition.value, ref)
    found = definition.parameter(parameter)
    if found is None:
        names = [p.name for p in definition.parameters]
        remedy = did_you_mean(parameter, names, f"Its parameters: {', '.join(names)}.")
        return Verdict("E604", f"{definition.ref} has no parameter {parameter}", remedy)
    if found.default is None:
        remedy = "Take the value from a place that states it."
        return Verdict(
            "E604", f"the parameter {parameter} of {definition.ref} has no default", remedy
        )
    return _compare_text(value, found.default, ref)


def _not_found(official: OfficialSource, ref: str) -> Verdict:
    module, _, symbol = ref.partition(":")
    if not official.has_module(ref):
        return Verdict(
            "E604", f"the official source has no module {module}", "Check the module's name."
        )
    name = symbol.partition("(")[0]
    remedy = did_you_mean(name, official.symbols(ref), "Check the name.")
    return Verdict("E604", f"{module} does not define {name}", remedy)


def _compare_text(value: Any, text: str, source: str) -> Verdict:
    try:
        return _compare(value, literal(text), source)
    except ValueError:
        if _says(text, value):
            return HOLDS
        remedy = "Quote the words that hold the value instead."
        return Verdict("E603", f"{source} is {text}, which cannot be compared", remedy)


def _compare(value: Any, official: Any, source: str) -> Verdict:
    if same(value, official):
        return HOLDS
    remedy = (
        f"Write {official!r}, or record a decision for the other value and name it as the source."
    )
    return Verdict(
        "E605", f"the source says {official!r}, the spec says {value!r} ({source})", remedy
    )


def same(a: Any, b: Any) -> bool:
    """Compare values as a config file would: 6 equals 6.0, a list equals a tuple, True is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-12)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _says(text: str, value: Any) -> bool:
    """Tell whether a quotation holds a value, as a whole word in any usual spelling."""
    if isinstance(value, str) and value not in _SPELLINGS:
        return _squeeze(value) in _squeeze(text)
    return any(re.search(_as_word(s), text) for s in _spellings(value))


def _as_word(spelling: str) -> str:
    """Match a spelling that no longer number or word swallows: 8 is not in 18, 8.5 or v8."""
    if spelling[0].isalpha():
        return rf"(?<!\w){re.escape(spelling)}(?!\w)"
    return rf"(?<![\w.]){re.escape(spelling)}(?!\w|\.\d)"


def _spellings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return _SPELLINGS.get(value, (value,))
    if isinstance(value, float) and value.is_integer():
        return (repr(value), str(int(value)))
    if type(value) is int:
        return (repr(value), repr(float(value)))
    return (repr(value), str(value).lower())


def _squeeze(text: str) -> str:
    return " ".join(text.split())
