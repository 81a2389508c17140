"""Run gates: in order, a few at a time, each in a process of its own with a time limit and a log.

The only module that starts processes for gates. It knows what a gate waits for and what its result means,
and nothing of what a gate does.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from portspec.gates.result import Gate, GateResult, in_order

_PORTS = range(20_000, 30_000)

Event = Callable[[str, GateResult | None], None]  # gate, and its result once it has one


@dataclass(frozen=True)
class Environment:
    """Where gates run: the folder, variables, modules to import beforehand, and the logs' folder."""

    folder: Path
    variables: Mapping[str, str]
    preload: Sequence[str]
    logs: Path
    jobs: int = 2


@dataclass
class _Running:
    gate: Gate
    started: float
    pid: int = 0
    timed_out: bool = False


@dataclass
class _State:
    waiting: list[Gate]
    running: dict[str, _Running] = field(default_factory=dict)
    results: dict[str, GateResult] = field(default_factory=dict)


class Runner:
    """Holds the server process; use it as a context manager, so that nothing outlives it."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            with suppress(OSError):
                assert self._server.stdin is not None
                self._server.stdin.close()
            self._server.terminate()
            self._server.wait()

    def run(
        self, gates: Iterable[Gate], known: Mapping[str, GateResult], event: Event
    ) -> dict[str, GateResult]:
        """Run gates and return their results, those in `known` being taken as they are.

        Args:
            gates: All gates of the port, in any order.
            known: Results that are still valid.
            event: Called when a gate starts (with None) and when it has a result.
        """
        ordered = in_order({gate.name: gate for gate in gates})
        state = _State([g for g in ordered if g.name not in known], results=dict(known))
        try:
            while state.waiting or state.running:
                self._settle_blocked(state, event)
                self._start_ready(state, event)
                if state.running:
                    self._wait(state, event)
        finally:
            for running in state.running.values():
                _kill(running.pid)
        return {gate.name: state.results[gate.name] for gate in ordered}

    def _settle_blocked(self, state: _State, event: Event) -> None:
        """Give up on gates that wait for something that will not pass."""
        for gate in list(state.waiting):
            bad = [
                state.results[name]
                for name in gate.after
                if name in state.results and state.results[name].status != "pass"
            ]
            if bad:
                state.waiting.remove(gate)
                message = f"waits for {bad[0].gate}, which is {bad[0].status}"
                self._settle(state, GateResult(gate.name, "blocked", gate.basis, message), event)

    def _start_ready(self, state: _State, event: Event) -> None:
        for gate in list(state.waiting):
            if len(state.running) >= self._environment.jobs:
                return
            if all(name in state.results for name in gate.after):
                state.waiting.remove(gate)
                state.running[gate.name] = _Running(gate, time.monotonic())
                event(gate.name, None)
                self._send(gate)

    def _send(self, gate: Gate) -> None:
        logs = self._environment.logs
        logs.mkdir(parents=True, exist_ok=True)
        result = logs / f"{gate.name}.result.json"
        result.unlink(missing_ok=True)
        request = logs / f"{gate.name}.request.json"
        values = {"module": gate.module, "args": dict(gate.args), "result": str(result)}
        request.write_text(json.dumps(values), encoding="utf-8")
        variables = {"MASTER_PORT": str(_free_port()), **gate.env}
        job = {
            "job": gate.name,
            "request": str(request),
            "log": str(log_path(logs, gate.name)),
            "env": variables,
            "fresh": gate.fresh,
        }
        server = self._running_server()
        assert server.stdin is not None
        with suppress(BrokenPipeError):  # `_wait` hears that the server has gone
            server.stdin.write((json.dumps(job) + "\n").encode())
            server.stdin.flush()

    def _running_server(self) -> subprocess.Popen[bytes]:
        if self._server is None:
            environment = self._environment
            with (environment.logs / "server.log").open("wb") as log:
                self._server = subprocess.Popen(
                    [sys.executable, "-m", "portspec.gates.server"],
                    cwd=environment.folder,
                    env={**os.environ, **environment.variables},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
            assert self._server.stdin is not None
            first = json.dumps({"preload": list(environment.preload)}) + "\n"
            self._server.stdin.write(first.encode())
            threading.Thread(target=self._listen, args=(self._server,), daemon=True).start()
        return self._server

    def _listen(self, server: subprocess.Popen[bytes]) -> None:
        assert server.stdout is not None
        for line in server.stdout:
            self._messages.put(json.loads(line))
        self._messages.put(None)

    def _wait(self, state: _State, event: Event) -> None:
        """Wait for one message, or until some gate's time is up."""
        now = time.monotonic()
        limit = min(r.started + r.gate.timeout for r in state.running.values())
        try:
            message = self._messages.get(timeout=max(0.05, min(limit - now, 1.0)))
        except queue.Empty:
            self._stop_late(state)
            return
        if message is None:
            self._lose_server(state, event)
        elif "pid" in message:
            state.running[message["job"]].pid = message["pid"]
        elif "exit" in message:
            running = state.running.pop(message["job"])
            _kill(running.pid)  # workers that it left behind
            self._settle(state, self._result(running, message["exit"]), event)

    def _stop_late(self, state: _State) -> None:
        now = time.monotonic()
        for running in state.running.values():
            if running.pid and now > running.started + running.gate.timeout:
                running.timed_out = True
                _kill(running.pid)

    def _lose_server(self, state: _State, event: Event) -> None:
        for name, running in list(state.running.items()):
            del state.running[name]
            _kill(running.pid)
            message = f"the gate server ended; see {self._environment.logs / 'server.log'}"
            result = GateResult(name, "fail", running.gate.basis, message)
            self._settle(
                state, replace(result, log=str(self._environment.logs / "server.log")), event
            )
        self._server = None

    def _result(self, running: _Running, code: int) -> GateResult:
        gate, logs = running.gate, self._environment.logs
        seconds = round(time.monotonic() - running.started, 2)
        log = str(log_path(logs, gate.name))
        path = logs / f"{gate.name}.result.json"
        if running.timed_out:
            message = f"it ran longer than {gate.timeout:g} s"
            return GateResult(gate.name, "fail", gate.basis, message, {}, seconds, log)
        if not path.is_file():
            message = f"its process ended with {_meaning(code)}"
            return GateResult(gate.name, "fail", gate.basis, message, {}, seconds, log)
        found = json.loads(path.read_text(encoding="utf-8"))
        device = found.get("device", "")
        basis = f"{gate.basis}, {device}" if gate.basis and device else gate.basis
        return GateResult(
            gate.name, found["status"], basis, found["message"], found["metrics"], seconds, log
        )

    def _settle(self, state: _State, result: GateResult, event: Event) -> None:
        state.results[result.gate] = result
        event(result.gate, result)


def log_path(logs: Path, gate: str) -> Path:
    """Return where a gate's log is kept."""
    return logs / f"{gate}.log"


def _meaning(code: int) -> str:
    if code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"


def _kill(pid: int) -> None:
    """Kill a gate and everything it has started."""
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _free_port() -> int:
    """Return a port that nobody holds.

    The gate takes it only when torch is imported, seconds later. It lies below those that systems hand out
    by themselves, so that no connection that is made meanwhile gets it.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    return 0
