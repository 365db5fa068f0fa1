"""One target's way through an export; a failure stops that target only."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeport.bundle.manifest import describe_file
from edgeport.calibration import Statistics
from edgeport.emission import Emitted, Evidence, check_target, emit
from edgeport.errors import BudgetError, CalibrationError, EdgeportError, ModelError, ToolchainError
from edgeport.export_options import ExportOptions, check_machine
from edgeport.findings import Finding
from edgeport.further_runs import measure_shapes, measure_steps
from edgeport.planning import Assigned, assign_for, kept_in_float, nothing_gained, plan_for
from edgeport.preparation import Prepared
from edgeport.presentation import Presentation, float_ends
from edgeport.progress import Progress, counter
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.report.contents import ArtifactFile, Status, TargetReport
from edgeport.shapes import Shaped
from edgeport.targets.contract import Profile, Target
from edgeport.validate.budgets import over_budget


@dataclass(frozen=True)
class Work:
    """How far a target has come. After an error nothing further is tried.

    Attributes:
        target: the target.
        assigned: which node runs how.
        plan: with ranges.
        further: the model at further shapes.
        emitted: the artifact and its drift.
        files: what the target's folder holds.
        folder: the folder that the artifact was written below.
        error: why it is not published.
        findings: all remarks so far.
    """

    target: Target
    assigned: Assigned | None = None
    plan: Plan | None = None
    further: tuple[Shaped, ...] = ()
    emitted: Emitted | None = None
    files: tuple[ArtifactFile, ...] = ()
    folder: Path | None = None
    error: EdgeportError | None = None
    findings: tuple[Finding, ...] = ()


def assign_target(target: Target, prepared: Prepared, options: ExportOptions, layers: Mapping[str, str]) -> Work:
    """Checks the graph against the target and decides the kernels; `layers` are nodes with their own precision."""
    findings: tuple[Finding, ...] = ()
    try:
        check_machine(target, options)
        findings = check_target(target, prepared, options.precision, options.device(target))
        assigned = assign_for(prepared.canonical, options.scheme_of(target, layers))
    except EdgeportError as error:
        return Work(target, error=error, findings=(*findings, *error.findings))
    return Work(target, assigned, findings=findings)


def plan_target(
    work: Work,
    prepared: Prepared,
    further: Mapping[str, Prepared],
    statistics: Statistics | None,
    method: str,
    presentation: Presentation,
) -> Work:
    """Gives the tensors their ranges.

    At further shapes (text of the flag -> what was captured) they are those of the main shapes, by name.

    Raises:
        CalibrationError: the statistics do not serve; this concerns every target.
    """
    if work.assigned is None:
        return work
    try:
        plan = presentation.of(plan_for(prepared.canonical, work.assigned, statistics, method))
        others = [
            Shaped(text, one.canonical, _plan_at(text, one, work.assigned.scheme, statistics, method, presentation))
            for text, one in further.items()
        ]
    except ModelError as error:
        return replace(work, error=error, findings=(*work.findings, *error.findings))
    scheme = work.assigned.scheme
    remarks = (*float_ends(prepared.canonical.graph, plan), *nothing_gained(scheme, plan), *kept_in_float(scheme, plan))
    return replace(work, plan=plan, further=tuple(others), findings=(*work.findings, *remarks))


def _plan_at(
    text: str,
    prepared: Prepared,
    scheme: Scheme,
    statistics: Statistics | None,
    method: str,
    presentation: Presentation,
) -> Plan:
    try:
        return presentation.of(plan_for(prepared.canonical, assign_for(prepared.canonical, scheme), statistics, method))
    except CalibrationError as error:
        raise ModelError(
            f"--shapes {text!r}: the graph has other tensors at these shapes, so the calibration does not serve them "
            f"({error}); export that shape by itself"
        ) from error


def emit_target(
    work: Work,
    profile: Profile | None,
    prepared: Prepared,
    further: Mapping[str, Prepared],
    folder: Path,
    evidence: Evidence | None,
    samples: int,
    progress: Progress,
) -> Work:
    """Writes and proves the artifact; one that fails or is over budget is removed from the folder."""
    if work.assigned is None or work.plan is None:
        return work
    name = work.target.name
    count = counter(progress, name, samples if evidence is not None else None)
    out = folder / name
    try:
        emitted = emit(work.target, profile, prepared, work.assigned, work.plan, folder, evidence, count, work.further)
        if evidence is not None and work.further:
            emitted = measure_shapes(emitted, work.target, further, evidence.samples)
        if evidence is not None and work.plan.states:
            emitted = measure_steps(emitted, prepared, work.target, evidence.samples)
    except EdgeportError as error:
        shutil.rmtree(out, ignore_errors=True)
        return replace(work, error=error, findings=(*work.findings, *error.findings))
    paths = sorted(p for p in out.rglob("*") if p.is_file())
    files = tuple(describe_file(p, p.relative_to(folder).as_posix()) for p in paths)
    findings = (*work.findings, *emitted.findings)
    done = replace(work, emitted=emitted, files=files, folder=folder, findings=findings)
    faults = emitted.ladder.findings if emitted.ladder is not None else ()
    broken = next((f.message for f in faults if f.severity == "error"), None)
    failed = f"over any budget: {broken}" if broken is not None else over_budget(emitted.budgets)
    if failed is None:
        return done
    shutil.rmtree(out)
    return replace(done, error=BudgetError(f"target {name} is {failed}"))


def target_report(work: Work, precision: str) -> TargetReport:
    """What the report says about the target."""
    emitted = work.emitted
    return TargetReport(
        work.target.name,
        precision,
        _status(work),
        verdict=None if emitted is None else emitted.ladder.verdict if emitted.ladder else "checked-not-run",
        files=work.files,
        facts=emitted.artifact.facts if emitted is not None else {},
        plan=work.plan,
        ladder=emitted.ladder if emitted is not None else None,
        budgets=emitted.budgets if emitted is not None else (),
        findings=work.findings,
        second=emitted.second if emitted is not None else None,
        layers=emitted.layers if emitted is not None else (),
        float_bytes=emitted.float_bytes if emitted is not None else None,
    )


def _status(work: Work) -> Status:
    if work.error is None:
        return "ok" if work.emitted is not None else "planned"
    if isinstance(work.error, BudgetError):
        return "over-budget"
    return "skipped" if isinstance(work.error, ToolchainError) else "failed"
