"""LSTM, GRU and RNN written out step by step, against ONNX Runtime's own operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, BATCH, INPUTS, HIDDEN = 5, 4, 3, 4


def recurrent(
    op: str,
    optional: str = "B h c",
    lengths: list[int] | None = None,
    fed: str = "",
    outputs: str = "y yh yc",
    steps: int = STEPS,
    **given: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One operator with random operands: `optional` names those present, `fed` those given at run time."""
    directions, gates, rng = 2 if given.get("direction") == "bidirectional" else 1, GATES[op], np.random.default_rng(0)
    shapes = {
        "x": (steps, BATCH, INPUTS),
        "W": (directions, gates * HIDDEN, INPUTS),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "h": (directions, BATCH, HIDDEN),
        "c": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }
    arrays = {name: rng.standard_normal(shape).astype(np.float32) * 0.6 for name, shape in shapes.items()}
    arrays["lens"] = np.asarray(lengths or [], np.int32)
    present = {"x", "W", "R", *optional.split(), *(["lens"] if lengths else [])}
    order = ["x", "W", "R", "B", "lens", "h", *(["c", "P"] if op == "LSTM" else [])]
    inputs = [name if name in present else "" for name in order]
    names = [name if name in outputs.split() else "" for name in ("y", "yh", "yc")[: 3 if op == "LSTM" else 2]]
    node = helper.make_node(op, inputs, names, hidden_size=HIDDEN, **given)
    runtime = [name for name in inputs if name and (name == "x" or name in fed.split())]
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(arrays[n].dtype), arrays[n].shape)
            for n in runtime
        ],
        [onnx.ValueInfoProto(name=name) for name in names if name],
        [numpy_helper.from_array(arrays[name], name) for name in inputs if name and name not in runtime],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto), {name: arrays[name] for name in runtime}


ALPHA_BETA = {"activation_alpha": [0.7, 0.3, 1.2], "activation_beta": [0.4, 0.6]}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "attributes"), [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})], ids=str
)
@pytest.mark.parametrize(
    ("optional", "fed", "lengths"),
    [("", "", None), ("B", "", None), ("h c", "", [5, 3, 1, 0]), ("B h c", "lens W R B h c", [5, 0, 2, 4])],
)
def test_directions_operands_and_lengths(
    check: Callable[..., Any],
    direction: str,
    op: str,
    attributes: dict[str, Any],
    optional: str,
    fed: str,
    lengths: list[int] | None,
) -> None:
    proto, feeds = recurrent(op, optional, lengths, fed, direction=direction, **attributes)
    assert op not in check(proto, "expand_recurrence", feeds=feeds).ops


@pytest.mark.parametrize(
    ("op", "optional", "attributes"),
    [
        ("LSTM", "B h c P", {"direction": "bidirectional"}),
        ("LSTM", "P", {}),
        ("LSTM", "B h c", {"input_forget": 1}),
        ("LSTM", "B h c P", {"clip": 0.3}),
        ("GRU", "B h", {"clip": 0.3}),
        ("GRU", "B h", {"clip": 0.3, "linear_before_reset": 1}),
        ("RNN", "B h", {"clip": 0.3}),
        ("LSTM", "B h c", {"activations": ["HardSigmoid", "Relu", "ScaledTanh"], **ALPHA_BETA}),
        ("LSTM", "B h c", {"activations": ["Sigmoid", "LeakyRelu", "Elu"]}),
        ("LSTM", "B h c", {"activations": ["Sigmoid", "Softsign", "Softplus"]}),
        ("GRU", "B h", {"activations": ["HardSigmoid", "ThresholdedRelu"], **ALPHA_BETA}),
        ("RNN", "B h", {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]}),
        ("RNN", "B h", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"}),
    ],
    ids=str,
)
def test_attributes(check: Callable[..., Any], op: str, optional: str, attributes: dict[str, Any]) -> None:
    proto, feeds = recurrent(op, optional, **attributes)
    assert op not in check(proto, "expand_recurrence", feeds=feeds).ops


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "attributes"), [("LSTM", {}), ("GRU", {"linear_before_reset": 1})], ids=str)
@pytest.mark.parametrize(("lengths", "fed"), [(None, ""), ([210, 3, 90, 0], ""), ([7, 210, 0, 1], "lens R h")])
def test_long_sequences_are_scanned(
    check: Callable[..., Any], direction: str, op: str, attributes: dict[str, Any], lengths: list[int] | None, fed: str
) -> None:
    optional = "" if lengths is None else "B h c P"
    proto, feeds = recurrent(op, optional, lengths, fed, steps=210, direction=direction, **attributes)
    done = check(proto, "expand_recurrence", feeds=feeds)
    assert done.ops["Scan"] == (2 if direction == "bidirectional" else 1)
    assert sum(done.ops.values()) < 120  # of 210 steps


@pytest.mark.parametrize("outputs", ["y", "yh", "yc", "yh yc"])
def test_outputs_that_nobody_reads_are_not_made(check: Callable[..., Any], outputs: str) -> None:
    proto, feeds = recurrent("LSTM", outputs=outputs)
    assert "LSTM" not in check(proto, "expand_recurrence", feeds=feeds).ops


@pytest.mark.parametrize(
    ("op", "attributes", "kept"),
    [
        ("LSTM", {}, True),
        ("LSTM", {"direction": "bidirectional"}, True),
        ("LSTM", {"clip": 0.3}, False),
        ("LSTM", {"lengths": [5, 3, 1, 0]}, False),
        ("LSTM", {"lengths": [5, 5, 5, 5]}, True),
        ("LSTM", {"fed": "W"}, False),
        ("RNN", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"}, False),
        ("GRU", {"linear_before_reset": 1}, True),
    ],
    ids=str,
)
def test_common_forms_stay(check: Callable[..., Any], op: str, attributes: dict[str, Any], kept: bool) -> None:
    proto, feeds = recurrent(op, **attributes)
    assert (op in check(proto, "expand_uncommon_recurrence", feeds=feeds).ops) == kept


@pytest.mark.parametrize("late", [0, 1])
def test_only_late_resets_are_written_out(check: Callable[..., Any], late: int) -> None:
    proto, feeds = recurrent("GRU", linear_before_reset=late)
    assert ("GRU" in check(proto, "expand_late_reset", feeds=feeds).ops) == (not late)
