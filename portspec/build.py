"""Build: judge, write, prove, report. The order of effects is here and nowhere else.

The report files tell what the gates have shown, so they are written twice: with the evidence that is still
valid before the gates run, and with the new results after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from portspec.apply import write_all
from portspec.backend import GatePlan, GateSettings, Target
from portspec.cache import sha256
from portspec.gates.result import Gate, GateResult, in_order
from portspec.gates.runner import Environment, Event, Runner
from portspec.judge import Judgement
from portspec.settings import Settings
from portspec.state import (
    dump,
    evidence_text,
    local_folder,
    read_evidence,
    read_state,
    state_files,
    state_folder,
)
from portspec.tree import Tree


@dataclass(frozen=True)
class Prepared:
    """A judgement with its gates, and the results that are still valid."""

    judgement: Judgement
    gates: GatePlan
    valid: Mapping[str, GateResult]


def prepare(judgement: Judgement, settings: Settings, give_up: Sequence[str] = ()) -> Prepared:
    """Add what the gates need to know: their inputs in the staged tree, and which evidence still holds."""
    backend, tree = judgement.target.backend, judgement.target.tree
    family = judgement.port.family
    staged = replace(judgement.port, tree=judgement.staged)
    local = local_folder(tree.root.resolve(), family)
    gates = backend.gates(staged, GateSettings(local, settings.weights))
    valid = still_valid(gates, tree.root, family)
    reports = backend.report(judgement.port, _ordered(gates, valid))
    return Prepared(judgement.planned_again(reports, give_up), gates, valid)


def still_valid(gates: GatePlan, root: Path, family: str) -> dict[str, GateResult]:
    """Return recorded passes whose gate would read the same again, each after those it waits for."""
    recorded = read_evidence(root, family)
    valid: dict[str, GateResult] = {}
    for gate in in_order({g.name: g for g in gates.gates}):
        result, inputs = recorded.get(gate.name, (None, {}))
        waits_for_valid = all(name in valid for name in gate.after)
        if result and result.status == "pass" and inputs == dict(gate.inputs) and waits_for_valid:
            valid[gate.name] = _with_run(result, root, family)
    return valid


def _with_run(result: GateResult, root: Path, family: str) -> GateResult:
    """Add the time and log of the run that made the evidence, if it was made on this machine."""
    run = read_runs(root, family).get(result.gate)
    return replace(result, seconds=run[0], log=run[1]) if run else result


def read_runs(root: Path, family: str) -> dict[str, tuple[float, str]]:
    """Read seconds and log of each gate's last run here."""
    import json

    path = local_folder(root, family) / "runs.json"
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {name: (float(row[0]), str(row[1])) for name, row in raw.items()}
    except (OSError, ValueError, TypeError, IndexError):
        return {}


def _ordered(gates: GatePlan, results: Mapping[str, GateResult]) -> dict[str, GateResult]:
    """Return a result for every gate, in order; gates without one were not run."""
    ordered = in_order({g.name: g for g in gates.gates})
    return {g.name: results.get(g.name) or GateResult(g.name, "not_run", g.basis) for g in ordered}


def apply(prepared: Prepared) -> list[str]:
    """Write the plan and the record of it; return the paths that were touched, the record's left out."""
    judgement = prepared.judgement
    root, plan = judgement.target.tree.root, judgement.plan
    texts: dict[str, str | None] = {change.path: change.after for change in plan.writes()}
    record: dict[str, str | None] = dict(
        state_files(judgement.port.family, plan.files, plan.entries)
    )
    kept = {file.path for file in plan.files}
    base = f"{state_folder(Path(), judgement.port.family).as_posix()}/base"
    for path, owned in judgement.state.files.items():
        if path not in kept and owned.base is not None:
            record[f"{base}/{path}"] = None
    written = write_all(root, {**texts, **record})
    return [path for path in written if path in texts]


def prove(
    prepared: Prepared,
    settings: Settings,
    event: Event,
    again: Callable[[str], bool] = lambda _name: False,
) -> dict[str, GateResult]:
    """Run the gates whose evidence no longer holds, and record what they show.

    Args:
        prepared: The build, already applied.
        settings: How many at a time.
        event: Told of every gate that starts and ends.
        again: Which gates to run although their evidence holds.

    Returns:
        A result for every gate, in order.
    """
    judgement, gates = prepared.judgement, prepared.gates
    root, family = judgement.target.tree.root, judgement.port.family
    local = local_folder(root.resolve(), family)
    known = _usable(prepared, again)
    environment = Environment(root, gates.variables, gates.preload, local / "logs", settings.jobs)
    local.mkdir(parents=True, exist_ok=True)
    for name, result in known.items():
        event(name, result)
    before = _fingerprint(judgement)
    done = dict(known)

    def keep(name: str, result: GateResult | None) -> None:
        if result is not None:
            done[name] = result
        event(name, result)

    try:
        with Runner(environment) as runner:
            done |= runner.run(gates.gates, known, keep)
    finally:  # what was shown before an interruption need not be shown again
        results = _trusted(prepared, known, done, before)
        record(prepared, results)
    return _ordered(gates, results)


def _trusted(
    prepared: Prepared, known: Mapping[str, GateResult], done: Mapping[str, GateResult], before: str
) -> dict[str, GateResult]:
    """Return what became of gates, as far as it proves something about the files as they are now."""
    judgement, gates = prepared.judgement, prepared.gates.gates
    edited = judgement.plan.edited
    results = {g.name: _distrusted(done[g.name], g, edited) for g in gates if g.name in done}
    if _fingerprint(judgement) == before:
        return results
    return {n: r if n in known else _overtaken(r) for n, r in results.items()}


def _fingerprint(judgement: Judgement) -> str:
    """Hash all that gates may read: the target as it is now, the spec, the official sources."""
    tree = judgement.target.tree
    files = sorted({path for path in judgement.reads if path.is_file()})
    texts = [sha256(str(path), path.read_bytes()) for path in files]
    return sha256(Tree(tree.root, tree.cache).digest(), *texts)


def _overtaken(result: GateResult) -> GateResult:
    """Files changed while gates ran, so nobody knows on which of them this one did."""
    if result.status != "pass":
        return result
    message = "the spec or the target changed while gates ran; run it again"
    return replace(result, status="inconclusive", message=message)


def _distrusted(result: GateResult, gate: Gate, edited: frozenset[str]) -> GateResult:
    """A test that a person has changed no longer proves what the spec says."""
    touched = [path for path in gate.files if path in edited]
    if result.status != "pass" or not touched:
        return result
    return replace(result, status="inconclusive", message=f"{touched[0]} was edited by hand")


def _usable(prepared: Prepared, again: Callable[[str], bool]) -> dict[str, GateResult]:
    """Return the results that need no new run; when some gate runs, what it reads must be there."""
    known = {n: r for n, r in prepared.valid.items() if not again(n)}
    if len(known) < len(prepared.gates.gates):
        for gate in prepared.gates.gates:
            if not all(Path(path).exists() for path in gate.produces):
                known.pop(gate.name, None)
    return known


def record(prepared: Prepared, results: Mapping[str, GateResult]) -> list[str]:
    """Write the evidence, the times of this machine, and the reports that tell of them."""
    judgement, gates = prepared.judgement, prepared.gates
    target, family = judgement.target, judgement.port.family
    reports = tuple(target.backend.report(judgement.port, _ordered(gates, results)))
    tree = Tree(target.tree.root, target.cache, shown=target.tree.shown)  # as it is after the gates
    now = Target(tree, target.cache)
    written = replace(judgement, state=read_state(tree.root, family), target=now)
    plan = written.planned_again(reports).plan
    told = {report.path for report in reports}
    inputs = {gate.name: gate.inputs for gate in gates.gates}
    folder = state_folder(Path(), family).as_posix()
    runs = {n: [r.seconds, r.log] for n, r in results.items() if r.log}
    texts: dict[str, str | None] = {c.path: c.after for c in plan.writes() if c.path in told}
    texts |= state_files(family, plan.files, plan.entries)
    texts[f"{folder}/evidence.json"] = evidence_text(results, inputs)
    texts[f"{folder}/local/runs.json"] = dump(runs)
    return write_all(target.tree.root, texts)


def listed(prepared: Prepared) -> dict[str, GateResult]:
    """Return the last result of every gate, in order; one whose evidence no longer holds was not run."""
    judgement = prepared.judgement
    root, family = judgement.target.tree.root, judgement.port.family
    recorded = read_evidence(root, family)
    inputs = {gate.name: dict(gate.inputs) for gate in prepared.gates.gates}
    current = {
        name: _with_run(result, root, family)
        for name, (result, read) in recorded.items()
        if read == inputs.get(name)
    }
    return _ordered(prepared.gates, {**current, **prepared.valid})


def reasons(prepared: Prepared) -> dict[str, list[str]]:
    """Say, for each gate, what keeps its recorded result from standing."""
    judgement = prepared.judgement
    recorded = read_evidence(judgement.target.tree.root, judgement.port.family)
    found: dict[str, list[str]] = {}
    for gate in in_order({g.name: g for g in prepared.gates.gates}):
        result, read = recorded.get(gate.name, (None, {}))
        names = dict.fromkeys((*gate.inputs, *read))
        why = [f"{name} changed" for name in names if gate.inputs.get(name) != read.get(name)]
        if result is None:
            why = ["it was never run"]
        elif result.status != "pass":
            why.insert(0, f"its last result was {result.status}")
        why += [f"{name} runs again" for name in gate.after if found.get(name)]
        found[gate.name] = why
    return found
