"""Spectra: there relative errors of small values count, and integers have absolute ones.

    waveform --> Conv (STFT) --> Mul(itself) --> ReduceSum --> MatMul (mel) --> Add(1e-6) --> Log --> network
    waveform --> Conv (STFT) --> re * re + im * im --> Sqrt --> network

Half a step of 8 bits on a spectrum whose quiet bins lie 60 dB under its loud ones is an error of 20 dB and more behind
the Log, and a level of its own in what was silence. The walk goes from every Log, and from every sum of two squares,
back to the first operator that is not linear, monotone at most.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.edit import producer, scalar

_PRODUCTS = ("Conv", "ConvTranspose", "MatMul")
_THROUGH = frozenset(
    (
        *("Abs", "Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Div", "Expand", "Flatten", "Gather"),
        *("Identity", "Max", "Mean", "MaxPool", "Min", "Mul", "Neg", "Pad", "Pow", "ReduceL2", "ReduceMax"),
        *("ReduceMean", "ReduceSum", "ReduceSumSquare", "Reshape", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum"),
        *("Transpose", "Unsqueeze", "Where"),
    )
)
_RECTIFIERS = ("Relu", "LeakyRelu", "PRelu")


def spectral_products(graph: ir.Graph) -> frozenset[ir.Node]:
    """The products whose results reach there: through linear products further up, past a rectifier only the nearest."""
    return frozenset(node for node in _reached(graph) if node.op_type in _PRODUCTS)


def spectral_nodes(graph: ir.Graph) -> frozenset[ir.Node]:
    """All that is computed from those products on, up to the Log, or to the root of the sum of squares."""
    starts = _starts(graph)
    roots = {use.node for node in starts for out in node.outputs for use in out.uses() if use.node.op_type == "Sqrt"}
    return frozenset((*_reached(graph), *starts, *roots))


def _starts(graph: ir.Graph) -> list[ir.Node]:
    return [node for node in graph if node.op_type == "Log" or _energy(node)]


def _reached(graph: ir.Graph) -> dict[ir.Node, None]:
    found: dict[ir.Node, None] = {}
    seen: set[tuple[ir.Node, bool]] = set()
    pending = [(value, False) for node in _starts(graph) for value in node.inputs]
    while pending:
        value, rectified = pending.pop()
        node = value.producer() if value is not None else None
        if node is None or (node, rectified) in seen:
            continue
        seen.add((node, rectified))
        if node.op_type in _PRODUCTS:
            found[node] = None
            if not rectified:
                pending.append((node.inputs[0], False))
        elif node.op_type in _RECTIFIERS or _saturates(node):
            found[node] = None
            pending.append((node.inputs[0], True))
        elif node.op_type in _THROUGH:
            found[node] = None
            pending.extend((operand, rectified) for operand in node.inputs)
    return found


def _energy(node: ir.Node) -> bool:
    """Whether a node is the sum of two squares, of different values."""
    if node.op_type != "Add":
        return False
    roots = [_root(value) for value in node.inputs]
    return None not in roots and roots[0] is not roots[1]


def _root(value: ir.Value | None) -> ir.Value | None:
    """What a value is the square of."""
    node = producer(value, "Mul", "Pow")
    if node is None:
        return None
    squared = scalar(node.inputs[1]) == 2.0 if node.op_type == "Pow" else node.inputs[0] is node.inputs[1]
    return node.inputs[0] if squared else None


def _saturates(node: ir.Node) -> bool:
    """Whether a Clip is an activation rather than a guard against Log(0)."""
    if node.op_type != "Clip":
        return False
    highest = scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    return highest is not None and not math.isinf(highest)
