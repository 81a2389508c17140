"""No secret is ever written down: only the name of the environment variable that holds it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port

_SECRETS = re.compile(
    r"hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{20,}\.[\w-]{20,}"
    r"|(?i:(token|password|secret|api_?key)\s*[=:]\s*[A-Za-z0-9_\-]{16,})"
)


def looks_secret(text: str) -> bool:
    """Tell whether a text holds something shaped like a credential.

    Example:
        >>> looks_secret("hf_" + "a1" * 12), looks_secret("HF_TOKEN")
        (True, False)
    """
    return bool(_SECRETS.search(text))


def check(port: Port) -> Iterator[Diagnostic]:
    """E117 a credential in the spec; the message does not repeat it."""
    for path in port.marks.values:
        value = _value(port, path)
        if isinstance(value, str) and looks_secret(value):
            remedy = "Revoke it, remove it, and give `token_env: HF_TOKEN`, the name of a variable, instead."
            yield port.complain("E117", "this looks like an access token", path, remedy)


def _value(port: Port, path: tuple[str | int, ...]) -> object:
    return port.loaded.plain_at(path)
