"""Results as tables for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from edgeport.report.tables import (
    budget_table,
    finding_table,
    layer_table,
    metric_table,
    new_table,
    plain_text,
    plan_tables,
    print_report,
)
from edgeport.report.wording import VERDICT, amount, closeness

if TYPE_CHECKING:
    from edgeport.findings import Finding
    from edgeport.results import ExportResult, Result


def show(command: str, result: Any, console: Console) -> None:
    """Prints what the command of that name returned."""
    _SHOW[command](result, console)


def _export(result: ExportResult, console: Console) -> None:
    """The drift ladder of every target, and where its files are; the plans where nothing was written."""
    print_report(result.report, console)
    targets: Sequence[Mapping[str, Any]] = result.report["targets"]
    if result.out is None:
        for target in targets:
            if target["plan"] is not None and target["status"] == "planned":
                for table in plan_tables(target["plan"]):
                    console.print(table)
        return
    verdicts = {target["target"]: VERDICT[target["verdict"]] for target in targets if target["verdict"]}
    rows = [(name, f"{path}  ({verdicts[name]})") for name, path in result.artifacts.items()]
    _pairs(console, [*rows, ("report", str(result.out / "report.html"))])


def _validate(result: Result, console: Console) -> None:
    """The drift of one artifact, and what stands behind the figures."""
    facts = result.facts
    _pairs(
        console,
        [
            ("artifact", facts["artifact"]),
            ("verdict", VERDICT[facts["verdict"]]),
            ("samples", str(facts["samples"])),
        ],
    )
    right = ("drift", "cosine", "largest error", "top-1 agreement")
    table = new_table("Drift (SQNR: signal to noise, higher is closer)", "output", *right, right=right)
    for output in facts["outputs"]:
        figures = (output["cosine_mean"], output["max_abs"], output["top1_agreement"])
        table.add_row(plain_text(output["output"]), closeness(output), *(amount(figure) for figure in figures))
    console.print(table)
    if "layers" in facts:
        console.print(layer_table(facts["layers"]))
    if facts["metrics"]:
        console.print(metric_table({"ladder": {"metrics": facts["metrics"]}}))
    if facts["budgets"]:
        console.print(budget_table(facts))
    _findings(result.findings, console)


def _inspect(result: Result, console: Console) -> None:
    """Inputs and outputs, operators before and after the graph passes, and each target's answer."""
    facts = result.facts
    if "device" in facts:
        _lint(result, console)
        return
    _pairs(
        console,
        [
            ("model", facts["name"]),
            ("inputs", "\n".join(facts["inputs"])),
            ("outputs", "\n".join(facts["outputs"])),
            ("parameters", f"{facts['parameters']:,}"),
            *((f"for {name}", _answer(answer)) for name, answer in facts["targets"].items()),
        ],
    )
    source, canonical = facts["operators"]["source"], facts["operators"]["canonical"]
    table = new_table("Operators", "operator", "source", "canonical", right=("source", "canonical"))
    for name in sorted({*source, *canonical}, key=lambda n: (-canonical.get(n, 0), -source.get(n, 0), n)):
        table.add_row(plain_text(name), str(source.get(name, 0)), str(canonical.get(name, 0)))
    table.add_row("all", str(sum(source.values())), str(sum(canonical.values())), style="bold")
    console.print(table)
    _findings(result.findings, console)


def _lint(result: Result, console: Console) -> None:
    """What a device has against a file, one row a rule."""
    facts = result.facts
    counts = Counter(finding["severity"] for finding in facts["findings"])
    said = [f"{counts[kind]} {kind}(s)" for kind in ("error", "warning") if counts[kind]]
    _pairs(
        console,
        [
            ("model", facts["name"]),
            ("opset", str(facts["opset"])),
            ("inputs", "\n".join(facts["inputs"])),
            ("outputs", "\n".join(facts["outputs"])),
            (f"for {facts['device']}", ", ".join(said) + ", see below" if said else "nothing against it"),
        ],
    )
    _findings(result.findings, console)


def _calibrate(result: Result, console: Console) -> None:
    """Where the statistics are and what they cover."""
    _pairs(console, [(key, str(result.facts[key])) for key in ("statistics", "samples", "tensors", "sha256")])
    _findings(result.findings, console)


def _targets(result: Result, console: Console) -> None:
    """One row a target, and its devices below: one target has many, and their names would leave the others no room."""
    table = new_table("", "target", "file", "precisions", "toolchain")
    devices = new_table("Devices, for --profile", "target", "devices")
    for name, facts in result.facts["targets"].items():
        toolchain = f"missing: pip install 'edgeport[{name}]'" if facts["missing"] else "installed"
        cells = (name, facts["suffix"], ", ".join(facts["precisions"]), toolchain)
        table.add_row(*(plain_text(cell) for cell in cells))
        if facts["profiles"]:
            listed = fill(", ".join(facts["profiles"]), 64, break_on_hyphens=False)
            devices.add_row(plain_text(name), plain_text(listed))
    console.print(table)
    console.print(devices)
    _findings(result.findings, console)


def _doctor(result: Result, console: Console) -> None:
    """The machine, the versions, and which targets can be built."""
    facts = result.facts
    versions = [(name, version or "not installed") for name, version in facts["versions"].items() if name != "python"]
    able = [(f"target {name}", "ready" if ready else "cannot be built") for name, ready in facts["targets"].items()]
    machine = [(key, str(facts[key])) for key in ("python", "platform", "cpus", "cache")]
    _pairs(console, [*machine, *versions, *able])
    _findings(result.findings, console)


def _answer(answer: Mapping[str, Any]) -> str:
    errors = sum(finding["severity"] == "error" for finding in answer["findings"])
    return "convertible" if answer["convertible"] else f"not convertible: {errors} node(s) in the way, see below"


def _findings(findings: Sequence[Finding], console: Console) -> None:
    if findings:
        console.print(finding_table([asdict(finding) for finding in findings]))


def _pairs(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Names and values, without a head."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(plain_text(name), plain_text(value))
    console.print(table)


_SHOW: Mapping[str, Callable[[Any, Console], None]] = {
    "export": _export,
    "inspect": _inspect,
    "calibrate": _calibrate,
    "validate": _validate,
    "targets": _targets,
    "doctor": _doctor,
}
