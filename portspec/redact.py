"""Texts shaped like a credential: recognised, and never repeated."""

from __future__ import annotations

import re

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


def redact(text: str) -> str:
    """Return the text without what is shaped like a credential.

    Example:
        >>> redact("use hf_" + "a1" * 12 + " here")
        'use (a credential, not shown) here'
    """
    return _SECRETS.sub("(a credential, not shown)", text)
