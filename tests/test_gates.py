"""Running gates: what each way of ending is taken for, and that nothing outlives the runner."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portspec.gates import runner
from portspec.gates.result import Gate, GateResult, in_order
from portspec.gates.runner import Environment, Runner
from portspec.gates.tests import Case, judge

PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path
from portspec.gates.result import Outcome

def run(args):
    return globals()[args["do"]](args)

def passes(args): return Outcome("pass", "seen", {"n": 1})
def raises(args): raise ValueError("no such tensor\\nand more")
def leaves(args): sys.exit(3)
def dies(args): os._exit(9)
def kills_itself(args): os.kill(os.getpid(), signal.SIGKILL)
def told_to_quit(args): os.kill(os.getpid(), signal.SIGQUIT); time.sleep(10)
def hangs(args): time.sleep(600)
def prints(args): print("from the gate"); subprocess.run(["echo", "from a child"]); return Outcome("pass")
def kills_server(args): os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)
def leaves_worker(args):
    worker = subprocess.Popen(["sleep", "600"])
    Path(args["pid"]).write_text(str(worker.pid))
    return Outcome("pass")
def hangs_with_worker(args): leaves_worker(args); time.sleep(600)
def environment(args): return Outcome("pass", os.environ["OWN"] + os.environ["SHARED"])
def loaded(args): return Outcome("pass", str("json.tool" in sys.modules))
def same_process(args): return Outcome("pass", str(os.getppid()))
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., dict[str, GateResult]]:
    """Run gates; each is the name of one of the functions above, or a Gate."""
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    variables = {"PYTHONPATH": str(tmp_path), "SHARED": "shared"}

    def run(*gates: Gate | str, jobs: int = 2) -> dict[str, GateResult]:
        environment = Environment(tmp_path, variables, ["json.tool"], tmp_path / "logs", jobs)
        whole = [gate(g) if isinstance(g, str) else g for g in gates]
        with Runner(environment) as runner:
            return runner.run(whole, {}, lambda _name, _result: None)

    return run


def gate(do: str, name: str = "", **options: object) -> Gate:
    args = {"do": do, **options.pop("args", {})}  # type: ignore[dict-item]
    return Gate(name or do, "", "program", args, **options)  # type: ignore[arg-type]


Start = Callable[..., dict[str, GateResult]]


@pytest.mark.parametrize(
    ("do", "status", "message"),
    [
        ("passes", "pass", "seen"),
        ("raises", "fail", "ValueError: no such tensor"),
        ("leaves", "fail", "it left with exit status 3"),
        ("dies", "fail", "its process ended with exit status 9"),
        ("kills_itself", "fail", "its process ended with signal SIGKILL"),
        ("told_to_quit", "fail", "SIGQUIT"),
        ("missing", "fail", "KeyError"),
    ],
)
def test_every_way_of_ending_has_its_meaning(
    start: Start, do: str, status: str, message: str
) -> None:
    result = start(do)[do]
    assert result.status == status
    assert message in result.message
    assert Path(result.log).is_file()


def test_a_module_that_does_not_import_fails(start: Start) -> None:
    assert start(Gate("g", "", "no_such_module"))["g"].status == "fail"


def test_a_gate_that_hangs_is_stopped_with_its_workers(start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    result = start(gate("hangs_with_worker", args={"pid": str(pid)}, timeout=1.5))
    assert result["hangs_with_worker"].status == "fail"
    assert "longer than 1.5 s" in result["hangs_with_worker"].message
    assert _ends(int(pid.read_text()))


def test_a_worker_that_a_gate_leaves_behind_is_ended(start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start(gate("leaves_worker", args={"pid": str(pid)}))
    assert _ends(int(pid.read_text()))


def _ends(pid: int) -> bool:
    """Tell whether a process goes away soon; one that nobody has waited for is gone, too."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_what_waits_for_a_failure_is_blocked_and_so_is_what_waits_for_that(start: Start) -> None:
    results = start(
        gate("raises"),
        gate("passes", "second", after=("raises",)),
        gate("passes", "third", after=("second",)),
    )
    assert [r.status for r in results.values()] == ["fail", "blocked", "blocked"]
    assert results["second"].message == "waits for raises, which is fail"


def test_gates_run_in_the_order_in_which_they_wait() -> None:
    gates = [
        gate("passes", "c", after=("b",)),
        gate("passes", "a"),
        gate("passes", "b", after=("a",)),
    ]
    assert [g.name for g in in_order({g.name: g for g in gates})] == ["a", "b", "c"]


def test_a_log_holds_what_the_gate_and_its_children_print(start: Start) -> None:
    log = Path(start("prints")["prints"].log).read_text()
    assert "from the gate" in log
    assert "from a child" in log


def test_each_gate_has_its_own_variables(start: Start) -> None:
    results = start(
        gate("environment", "one", env={"OWN": "1"}), gate("environment", "two", env={"OWN": "2"})
    )
    assert (results["one"].message, results["two"].message) == ("1shared", "2shared")


def test_gates_share_what_was_imported_and_a_fresh_one_does_not(start: Start) -> None:
    results = start(gate("loaded", "shared"), gate("loaded", "fresh", fresh=True))
    assert (results["shared"].message, results["fresh"].message) == ("True", "False")


def test_a_lost_server_fails_its_gate_and_the_others_get_a_new_one(start: Start) -> None:
    results = start(gate("kills_server"), gate("passes"), jobs=1)
    assert results["kills_server"].status == "fail"
    assert "server" in results["kills_server"].message
    assert results["passes"].status == "pass"


def test_an_interruption_ends_everything(tmp_path: Path, start: Start) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    environment = Environment(tmp_path, {"PYTHONPATH": str(tmp_path)}, [], tmp_path / "logs")
    hanging = gate("hangs_with_worker", args={"pid": str(pid)})

    def interrupt(_name: str, _result: GateResult | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Runner(environment) as runner:
        runner.run([gate("passes"), hanging], {}, lambda n, r: r and interrupt(n, r))
    assert not pid.exists() or _ends(int(pid.read_text()))


# --- a gate that is a test file ---------------------------------------------------------------------

TESTS = {
    "passes": ("def test_a(record_property):\n    record_property('x', 2.5)\n", "pass", ""),
    "fails": ("def test_a():\n    assert 1 == 2\n", "fail", "test_a: assert 1 == 2"),
    "skips": (
        "import pytest\ndef test_a():\n    pytest.skip('no weights')\n",
        "inconclusive",
        "no weights",
    ),
    "skips whole": (
        "import pytest\npytest.skip('not here', allow_module_level=True)\n",
        "inconclusive",
        "not here",
    ),
    "skips one": (
        "import pytest\ndef test_a(): pass\n@pytest.mark.skip(reason='flaky')\ndef test_b(): pass\n",
        "inconclusive",
        "flaky",
    ),
    "expected to fail": (
        "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a():\n    assert False\n",
        "inconclusive",
        "known",
    ),
    "expected to fail and does not": (
        "import pytest\n@pytest.mark.xfail(reason='known')\ndef test_a(): pass\n",
        "inconclusive",
        "known",
    ),
    "is empty": ("", "inconclusive", "no test"),
    "was renamed": (
        "def test_b(record_property):\n    record_property('x', 1)\n",
        "inconclusive",
        "no test test_a",
    ),
    "records nothing": ("def test_a(): pass\n", "inconclusive", "recorded x"),
    "does not import": ("import no_such_module\n", "fail", "no_such_module"),
    "is no Python": ("def (\n", "fail", "SyntaxError"),
    "fails while cleaning up": (
        "import pytest\n@pytest.fixture\ndef f():\n    yield\n    assert 0, 'left over'\n"
        "def test_a(f): pass\n",
        "fail",
        "left over",
    ),
    "fails in its set-up": (
        "import pytest\n@pytest.fixture\ndef f():\n    assert 0, 'no model'\ndef test_a(f): pass\n",
        "fail",
        "no model",
    ),
    "leaves": ("import os\ndef test_a():\n    raise SystemExit(0)\n", "fail", "SystemExit"),
    "kills pytest": ("import os\ndef test_a():\n    os._exit(0)\n", "fail", "exit status 0"),
}


@pytest.mark.parametrize("case", TESTS)
def test_a_test_file_is_judged_test_by_test(case: str, start: Start, tmp_path: Path) -> None:
    text, status, message = TESTS[case]
    (tmp_path / "test_file.py").write_text(text, encoding="utf-8")
    args = {"file": "test_file.py", "expects": ["test_a"], "metrics": ["x"]}
    result = start(Gate("g", "", "portspec.gates.tests", args))["g"]
    assert (result.status, message in result.message) == (status, True), result
    if status == "pass":
        assert result.metrics == {"x": 2.5, "tests": 1}


NEUTERED = {
    "conftest.py": "def pytest_collection_modifyitems(items): items.clear()\n",
    "pytest.ini": "[pytest]\naddopts = --collect-only\n",
}


@pytest.mark.parametrize("name", NEUTERED)
def test_no_file_around_a_test_decides_what_is_run(name: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "test_file.py").write_text("def test_a():\n    assert 1 == 2\n", encoding="utf-8")
    (tmp_path / name).write_text(NEUTERED[name], encoding="utf-8")
    args = {"file": "test_file.py", "expects": ["test_a"], "metrics": []}
    assert start(Gate("g", "", "portspec.gates.tests", args))["g"].status == "fail"


def test_no_variable_decides_what_is_run(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "def test_a(): pass\ndef test_b():\n    assert 1 == 2\n"
    (tmp_path / "test_file.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k test_a")
    args = {"file": "test_file.py", "expects": ["test_a"], "metrics": []}
    assert start(Gate("g", "", "portspec.gates.tests", args))["g"].status == "fail"


def test_a_file_that_is_not_there_is_no_pass(start: Start) -> None:
    args = {"file": "nowhere.py", "expects": [], "metrics": []}
    assert start(Gate("g", "", "portspec.gates.tests", args))["g"].status != "pass"


def test_of_numbers_the_worst_counts_and_of_lists_all() -> None:
    cases = [
        Case("test_a[1]", "passed", "", (("max", 1.0), ("blind", "x, y"))),
        Case("test_a[2]", "passed", "", (("max", 3.0), ("blind", "z"))),
    ]
    found = judge(cases, ["test_a"], ["max"]).metrics
    assert (found["max"], found["blind"]) == (3.0, "x, y, z")


def test_evidence_holds_nothing_that_differs_between_two_runs() -> None:
    result = GateResult("g", "pass", "CPU", "", {"b": 1, "a": 2}, seconds=1.5, log="somewhere")
    text = json.dumps(result.evidence())
    assert "somewhere" not in text
    assert "seconds" not in text
    assert list(result.evidence()["metrics"]) == ["a", "b"]
    assert os.sep not in text


def test_ports_for_gates_are_not_those_that_connections_get() -> None:
    """A gate takes its port seconds after it was chosen."""
    ports = {runner._free_port() for _ in range(20)}
    assert len(ports) > 10
    assert all(20_000 <= port < 30_000 for port in ports)


def test_a_port_that_is_held_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        monkeypatch.setattr(runner, "_PORTS", range(port, port + 1))
        assert runner._free_port() == 0
