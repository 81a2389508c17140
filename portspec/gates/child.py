"""A gate in a process of its own: read the request, run the gate's module, write what it concludes.

This is the one place where any exception is caught: a gate that crashes has failed, and its traceback
stands in its log.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from portspec.gates.result import Outcome


def main(request_path: str) -> None:
    """Run the gate that a request file describes, and write its outcome beside it."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    signal.signal(signal.SIGQUIT, _told_to_quit)
    try:
        outcome = import_module(request["module"]).run(request["args"])
    except SystemExit as error:
        outcome = Outcome("fail", f"it left with exit status {error.code}")
    except BaseException as error:
        traceback.print_exc()
        outcome = Outcome("fail", _one_line(error))
    _write(Path(request["result"]), {**asdict(outcome), "device": _device()})


def _told_to_quit(_signal: int, _frame: FrameType | None) -> None:
    """Turn a worker's way of ending its whole family into a failure that says where it happened."""
    raise RuntimeError("a process that it started has failed and told it to quit (SIGQUIT)")


def _one_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"[:300]


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is None:
        return ""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else "CPU"


def _write(path: Path, value: dict[str, Any]) -> None:
    """Write the outcome whole or not at all, so that a killed gate leaves none."""
    sys.stdout.flush()
    sys.stderr.flush()
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(value, default=str), encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main(sys.argv[1])
