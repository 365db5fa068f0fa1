"""The report as tables for a terminal. Rich is imported when a table is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeport.report.encode import Json
from edgeport.report.wording import (
    BUDGET_STATE,
    STATUS,
    amount,
    closeness,
    decibels,
    interval,
    is_loud,
    kernel_word,
    layer_closeness,
    scales,
    size,
    worst_index,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_COLOR = {
    "ok": "green",
    "planned": "cyan",
    "warning": "yellow",
    "error": "red",
    "info": "blue",
    "over-budget": "red",
    "failed": "red",
    "skipped": "blue",
}


def print_report(data: Mapping[str, Json], console: Console) -> None:
    """Prints what `build_report` made: findings, the drift of every target, what is to blame, and budgets."""
    if data["findings"]:
        console.print(finding_table(data["findings"]))
    if any(t["ladder"] for t in data["targets"]):
        console.print(drift_table(data))
    for target in data["targets"]:
        title = plain_text(f"{target['target']} {target['precision']}: ", "bold")
        title.append(STATUS[target["status"]], style=_COLOR[target["status"]])
        if target["files"]:
            title.append(f", {size(target['bytes'])}")
        console.print(title)
        if target["ladder"]:
            console.print(plain_text("  " + target["ladder"]["blame"]["sentence"]))
        if target["ladder"] and target["ladder"]["metrics"]:
            console.print(metric_table(target))
        if target["budgets"]:
            console.print(budget_table(target))
        if target["findings"]:
            console.print(finding_table(target["findings"]))


def drift_table(data: Mapping[str, Json]) -> Table:
    """A row for each target and output: the four rungs and the total, in dB of SQNR or in words."""
    steps = ("capture", "lowering", "quantization", "kernels", "total")
    table = new_table("Drift (SQNR: signal to noise, higher is closer)", "target", "output", *steps, right=steps)
    for target in data["targets"]:
        ladder = target["ladder"]
        if not ladder:
            continue
        rungs = {rung["name"]: rung for rung in ladder["rungs"]}
        worst = worst_index(ladder)
        for index, output in enumerate(rungs["total"]["outputs"]):
            cells = []
            for name in steps:
                outputs = rungs[name]["outputs"]
                cell = plain_text(closeness(outputs[index]) if outputs else "–")
                if outputs and index == worst and ladder["blame"]["rung"] == name and is_loud(outputs[index]):
                    cell.stylize("bold yellow")
                if name == "total":
                    cell.stylize("bold")
                cells.append(cell)
            first = f"{target['target']} {target['precision']}" if index == 0 else ""
            table.add_row(plain_text(first), plain_text(output["output"]), *cells)
        second = target["second"]
        for index, output in enumerate(second["outputs"] if second else ()):
            first = f"  {second['runtime'].split(' ')[0]}" if index == 0 else ""
            count = f"{second['samples']} sample{'s' if second['samples'] > 1 else ''}"  # fewer than the rows above
            row = (first, output["output"], count, "", "", "", closeness(output))
            table.add_row(*map(plain_text, row))
    return table


def layer_table(layers: Sequence[Mapping[str, Json]]) -> Table:
    """The drift of inner tensors, in graph order."""
    right = ("drift", "computed from")
    table = new_table("Layer by layer (SQNR against the canonical graph in float)", "tensor", "op", *right, right=right)
    for layer in layers:
        cells = (layer["tensor"], layer["op"], layer_closeness(layer), decibels(layer["before_db"]))
        table.add_row(*map(plain_text, cells))
    return table


def metric_table(target: Mapping[str, Json]) -> Table:
    """Top-1 and the user's metrics of one target."""
    table = new_table(
        "",
        "metric",
        "source",
        "artifact",
        "drop",
        "95 % of the drop",
        right=("source", "artifact", "drop", "95 % of the drop"),
    )
    for metric in target["ladder"]["metrics"]:
        values = metric["values"]
        cells = (
            amount(values["source"]),
            amount(values["artifact"]),
            amount(metric["drop"]),
            interval(metric["drop_interval"]),
        )
        table.add_row(*(plain_text(cell) for cell in (metric["name"], *cells)))
    return table


def budget_table(target: Mapping[str, Json]) -> Table:
    """The budgets of one target."""
    table = new_table("", "budget", "measured", "95 % interval", "output", "state", right=("measured", "95 % interval"))
    for budget in target["budgets"]:
        kind, words = BUDGET_STATE[(budget["passed"], budget["certain"])]
        missing = "identical" if budget["passed"] else "not defined"
        value = missing if budget["value"] is None else amount(budget["value"])
        cells = (budget["budget"], value, interval(budget["interval"]), budget["output"] or "")
        table.add_row(*(plain_text(cell) for cell in cells), plain_text(words, _COLOR[kind]))
    return table


def finding_table(findings: Sequence[Mapping[str, Json]]) -> Table:
    """Findings, worst first, each with its place and its way out."""
    table = new_table("", "", "code", "finding")
    order = ("error", "warning", "info")
    for finding in sorted(findings, key=lambda f: order.index(f["severity"])):
        place = f"{finding['node']} ({finding['op']}): " if finding["op"] else f"{finding['node']}: "
        message = plain_text((place if finding["node"] else "") + finding["message"])
        if finding["hint"]:
            message.append(f"\n{finding['hint']}", style="dim")
        table.add_row(
            plain_text(finding["severity"], _COLOR[finding["severity"]]), plain_text(finding["code"]), message
        )
    return table


def plan_tables(plan: Mapping[str, Json], *, every: bool = True) -> list[Table]:
    """What `plan_data` made: nodes by kernel and reason, then every node and every tensor.

    Args:
        plan: the plan.
        every: whether to list every node and tensor, as `--dry-run` does.
    """
    tables = [new_table(f"Plan ({plan['precision']})", "kernel", "nodes", "because", right=("nodes",))]
    for row in plan["reasons"]:
        tables[0].add_row(plain_text(kernel_word(row["kernel"])), str(row["nodes"]), plain_text(row["reason"]))
    if every and plan["nodes"]:
        nodes = new_table("Nodes", "node", "op", "kernel", "because")
        for node in plan["nodes"]:
            shown = (node["name"], node["op"], kernel_word(node["kernel"]), node["reason"])
            nodes.add_row(*map(plain_text, shown))
        tables.append(nodes)
    if every and plan["tensors"]:
        tensors = new_table("Tensors", "tensor", "role", "dtype", "scale", "zero", "because", right=("scale", "zero"))
        for tensor in plan["tensors"]:
            cells = (tensor["name"], tensor["role"], tensor["dtype"], scales(tensor), str(tensor.get("zero_point", "")))
            tensors.add_row(*(plain_text(cell) for cell in (*cells, tensor["reason"])))
        tables.append(tensors)
    return tables


def new_table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    """An empty table in the one style; columns in `right` hold numbers, which are never wrapped."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right, overflow="fold"
        )
    return table


def plain_text(content: str, style: str = "") -> Text:
    """Plain text: names of strangers' models are never read as markup, nor as control codes of the terminal."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() or c == "\n" else "�" for c in content), style=style)
