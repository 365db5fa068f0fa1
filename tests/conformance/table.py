"""The page docs/conformance.md, made from the outcomes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from .cases import Case
from .outcomes import VERDICTS, Outcome, Verdict
from .view import NAME as VIEW

TARGETS = ("tflite", "coreml", "coreai", "tensorrt", "executorch", "onnxruntime", "qnnpack", VIEW)
"""Targets that the page covers, and the torch view."""
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"

_PEERS = (
    ("onnx2tf 2.6.9, direct", "TFLite", ((765, 60, 40, 315), (610, 34, 38, 196), (155, 26, 2, 119))),
    ("onnx2coreml 1.1.0", "Core ML", ((570, 568, 35, 0), (460, 378, 33, 0), (110, 190, 2, 0))),
    ("onnxsim 0.8.1, then onnx2coreml", "Core ML", ((393, 775, 8, 0), (296, 573, 5, 0), (97, 202, 3, 0))),
    ("coreai-onnx 1.2.1", "Core AI", ((873, 288, 16, 3), (622, 241, 12, 3), (251, 47, 4, 0))),
    ("onnx2torch 1.5.15", "torch", ((473, 659, 39, 9), (404, 426, 39, 9), (69, 233, 0, 0))),
)
"""Name, format, then (pass, refused, wrong, crash) of all, single-node and expanded cases; what is missing to the
total could not be judged. Measured once with the same selection, tolerances and lenience towards ranks and layouts."""

_INTRODUCTION = """\
# Conformance

ONNX publishes tests of every operator: a small model, inputs, and the outputs that they must give. {total} of them
concern inference on a phone or board: usual element types, no loops, strings or random numbers, no output shape that
depends on values; {expanded} of these are the function bodies (`*_expanded`) of operators that have one. What models
hold as constants (weights, axes, pads, shapes, ...) is one here too. `tests/conformance/selection.py` is the rule.

Each goes through `export` with `--precision fp32`; the file is loaded and run, and its outputs are compared: rtol 1e-3
and atol 1e-4, float16 2e-2, integers and booleans exact (8-bit integers +-1), shapes and types as in the source.
A TFLite file runs in LiteRT; a Core ML package, for want of a Mac, in edgeport's own evaluator of the saved bytes;
a model for TensorRT (8.6 and later, opset 17), for want of a GPU, in ONNX Runtime as it is written; a file for ONNX
Runtime there with the rewritings that apps get; an ExecuTorch program in its own runtime.
The torch view (`edgeport.api.torch_view`) is no target: it runs in torch.

- **pass**: the outputs agree.
- **refused**: the export ends with exit code 3 and a finding that names the operator and what about it is in the way.
- **wrong**: the file runs and its outputs differ.
- **crash**: anything else, such as another exception or a file that its runtime does not load.

Wrong and crash must be zero; `tests/conformance` fails otherwise. This page is written by `make conformance`.
"""


def page(cases: Sequence[Case], results: Mapping[str, Mapping[str, Outcome]]) -> str:
    """The whole page."""
    expanded = sum(case.expanded for case in cases)
    parts = [_INTRODUCTION.format(total=f"{len(cases):,}", expanded=expanded)]
    parts.append("## Totals\n\nThe other converters were measured in November 2026 on the same cases and tolerances.\n")
    kinds = (
        ("All", list(cases)),
        ("Single operators", [c for c in cases if not c.expanded]),
        ("Function bodies", [c for c in cases if c.expanded]),
    )
    for index, (title, chosen) in enumerate(kinds):
        rows = [(f"**edgeport {target}**", target, _counts(chosen, outcomes)) for target, outcomes in results.items()]
        rows += [(name, form, figures[index]) for name, form, figures in _PEERS]
        parts.append(f"{title}: {len(chosen)} cases\n\n" + _totals(rows, len(chosen)))
    for target, outcomes in results.items():
        parts.append(f"## {target}: per operator\n\n" + _per_operator(cases, outcomes))
        parts.append(f"## {target}: what does not pass\n\n" + _failures(cases, outcomes))
    return "\n".join(parts)


def listed(target: str) -> dict[str, Outcome]:
    """The cases that do not pass on a target, as the page that is there says."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.partition(f"## {target}: what does not pass\n")[2].partition("\n## ")[0]
    found = {}
    for line in section.splitlines():
        cells = re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |"))
        if len(cells) == 4 and cells[1] in VERDICTS:
            outcome = Outcome(cast(Verdict, cells[1]), cells[2].replace("\\|", "|"))
            found.update(dict.fromkeys(re.findall(r"`(\w+)`", cells[3]), outcome))
    return found


def _counts(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> tuple[int, ...]:
    counts = Counter(outcomes[case.name].verdict for case in cases)
    return tuple(counts[verdict] for verdict in VERDICTS)


def _totals(rows: Sequence[tuple[str, str, tuple[int, ...]]], total: int) -> str:
    lines = ["| converter | to | pass | refused | wrong | crash | pass % |", "|---|---|---|---|---|---|---|"]
    for name, form, counts in rows:
        lines.append(f"| {name} | {form} | {' | '.join(map(str, counts))} | {100 * counts[0] / total:.1f} |")
    return "\n".join(lines) + "\n"


def _per_operator(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> str:
    lines = ["| operator | cases | pass | refused | wrong | crash |", "|---|---|---|---|---|---|"]
    for op in dict.fromkeys(case.op for case in cases):
        own = [case for case in cases if case.op == op]
        counts = (str(count or "") for count in _counts(own, outcomes))
        lines.append(f"| {op} | {len(own)} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


def _failures(cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> str:
    """Cases that end alike stand in one row."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for case in cases:
        outcome = outcomes[case.name]
        if outcome.verdict != "pass":
            rows.setdefault((case.op, outcome.verdict, outcome.reason), []).append(case.name)
    lines = ["| operator | outcome | reason | cases |", "|---|---|---|---|"]
    for (op, verdict, reason), names in rows.items():
        text = reason.replace("|", "\\|")
        lines.append(f"| {op} | {verdict} | {text} | {', '.join(f'`{n}`' for n in names)} |")
    return "\n".join(lines) + "\n"
