"""Classes by name: the label and the table of numbers that Vision and Xcode show of a classifier."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.passes.edit import static_shape
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context

FEATURE = "classLabel"
"""Name of the output with the best class; that with all numbers is `classLabel_probs`, as coremltools calls it."""
_PROBABILITIES = ("Softmax", "Sigmoid", "HardSigmoid")
_VIEWS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class Classes:
    """What makes a program a classifier.

    Attributes:
        source: canonical name of the output that has a number for every class.
        labels: their names, all different.
        numbers: a copy of that output, which becomes the table.
        feature: identifier of the output with the best class.
    """

    source: str
    labels: tuple[str, ...]
    numbers: mil.Var
    feature: str


def classes_of(ctx: Context, outputs: Sequence[ir.Value], returned: Sequence[mil.Var]) -> Classes | None:
    """Emits the copy, where labels are given and an output has one float for each of them; else None.

    The first such output counts, and one of probabilities before others. The array itself stays an output beside what
    is made of it.
    """
    labels = ctx.plan.description.labels
    fitting = [(v, var) for v, var in zip(outputs, returned, strict=True) if _fits(v, len(labels))]
    if not fitting:
        return None
    value, var = next((pair for pair in fitting if _are_probabilities(pair[0])), fitting[0])
    feature = ctx.names.fresh(FEATURE)
    ctx.names.fresh(f"{feature}_probs")
    exact = ctx.cast(var, "float32", f"{feature}_numbers")
    copy = exact if exact is not var else ctx.emit("identity", f"{feature}_numbers", x=var)
    return Classes(value.name or "", _different(labels), copy, feature)


def _fits(value: ir.Value, classes: int) -> bool:
    shape = static_shape(value)
    if not shape or not classes or value.dtype not in _FLOATS:
        return False
    return shape[-1] == classes == math.prod(shape)


def _are_probabilities(value: ir.Value) -> bool:
    node = value.producer()
    while node is not None and node.op_type in _VIEWS and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and node.op_type in _PROBABILITIES


def _different(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels with a number behind each that was there before: a table has every name once."""
    taken, counts, found = set(labels), Counter[str](), []
    for label in labels:
        counts[label] += 1
        unique = label
        while counts[label] > 1 and unique in taken:
            unique = f"{label} {counts[label]}"
            counts[label] += unique in taken
        taken.add(unique)
        found.append(unique)
    return tuple(found)


def remarks(labels: Sequence[str], classes: Classes | None, outputs: Sequence[ir.Value]) -> Iterator[Finding]:
    """What to know about the labels of a package."""
    if not labels:
        return
    if classes is None:
        message = f"no float output is just one number for each of {len(labels)} labels; they are in the metadata alone"
        yield Finding("warning", "labels-not-used", message)
        return
    repeated = [label for label, count in Counter(labels).items() if count > 1]
    if repeated:
        message = f"{len(repeated)} labels stand for several classes and got numbers, {repeated[0]!r} among them"
        yield Finding("info", "repeated-labels", message)
    if not any(_are_probabilities(v) for v in outputs if v.name == classes.source):
        message = f"output {classes.source!r} is not made by a Softmax, and Vision shows its numbers as confidences"
        yield Finding("info", "not-probabilities", message, hint="end the model in a Softmax if they shall add up to 1")
