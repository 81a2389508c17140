"""No secret is ever written down: only the name of the environment variable that holds it."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.redact import looks_secret


def check(port: Port) -> Iterator[Diagnostic]:
    """E117 a credential in the spec; the message does not repeat it."""
    for path in port.marks.values:
        value = _value(port, path)
        if isinstance(value, str) and looks_secret(value):
            remedy = "Revoke and remove it; `weights.token_env` takes the name of a variable that holds one."
            yield port.complain("E117", "this looks like an access token", path, remedy)


def _value(port: Port, path: tuple[str | int, ...]) -> object:
    return port.loaded.plain_at(path)
