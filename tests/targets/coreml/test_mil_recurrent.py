"""LSTM, GRU and RNN in saved Core ML packages, against ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal, run
from onnx import numpy_helper
from onnx_graphs import reference

from edgeport.planning import assign_for, plan_for
from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.scheme import coreml_scheme

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
BATCH, INPUTS, HIDDEN = 2, 3, 4


def recurrent(op: str, optional: str, steps: int = 3, lengths: str = "", **attributes: Any) -> tuple[Graph, list[str]]:
    """One operator with random constant operands; `optional` names those present."""
    directions, gates, g = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op], Graph()
    shapes = {
        "W": (directions, gates * HIDDEN, INPUTS),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "h": (directions, BATCH, HIDDEN),
        "c": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }
    made = {name: normal(*shape, seed=seed) * 0.5 for seed, (name, shape) in enumerate(shapes.items(), 1)}
    x, inputs = g.input("x", normal(steps, BATCH, INPUTS)), []
    for name in ("W", "R", "B", lengths, "h", *(["c", "P"] if op == "LSTM" else [])):
        if name == lengths and lengths:
            inputs.append(g.input("lens", np.asarray([steps, 1], np.int32)))
        elif name in ("h", "c") and name in optional:
            inputs.append(g.input(name, made[name]))
        else:
            inputs.append(g.const(made[name], name) if name and name in f"W R {optional}" else "")
    outputs = ["y", "yh", "yc"][: 3 if op == "LSTM" else 2]
    g.op(op, x, *inputs, out=outputs, hidden_size=HIDDEN, **attributes)
    return g, outputs


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "optional", "attributes"),
    [
        ("LSTM", "", {}),
        ("LSTM", "B h c", {}),
        ("LSTM", "B h c P", {}),
        ("GRU", "", {}),
        ("GRU", "B h", {}),
        ("RNN", "B h", {}),
    ],
    ids=str,
)
def test_own_forms(tmp_path: Path, direction: str, op: str, optional: str, attributes: dict[str, Any]) -> None:
    kinds = assert_same(*recurrent(op, optional, direction=direction, **attributes), tmp_path)
    assert kinds[op.lower()] == (2 if op != "LSTM" and direction == "bidirectional" else 1)


@pytest.mark.parametrize("optional", ["", "B h"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(("deployment", "own"), [("iOS17", False), ("iOS18", True)])
def test_a_late_reset_is_an_operation_since_ios18(
    tmp_path: Path, optional: str, direction: str, deployment: str, own: bool
) -> None:
    plan = Plan("fp32", device={"name": "phone", "deployment": deployment})
    g, outputs = recurrent("GRU", optional, direction=direction, linear_before_reset=1)
    assert bool(assert_same(g, outputs, tmp_path, plan=plan)["gru"]) == own


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LSTM", {"lengths": "lens"}),
        ("LSTM", {"clip": 0.2}),
        ("LSTM", {"activations": ["HardSigmoid", "Softsign", "Elu"]}),
        ("LSTM", {"input_forget": 1}),
        ("GRU", {"lengths": "lens", "direction": "bidirectional"}),
        ("RNN", {"activations": ["Relu", "Tanh"], "direction": "bidirectional"}),
    ],
    ids=str,
)
def test_other_forms_are_written_out(tmp_path: Path, op: str, attributes: dict[str, Any]) -> None:
    g, outputs = recurrent(op, "B h c", **attributes)
    assert not assert_same(g, outputs, tmp_path)[op.lower()]


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("deployment", ["iOS15", "iOS17"])
def test_float16(tmp_path: Path, op: str, deployment: str) -> None:
    g, outputs = recurrent(op, "B h c", direction="bidirectional")
    plan = Plan("fp16", device={"name": "phone", "deployment": deployment})
    # float16 has 11 bits; what one step loses (5e-4 of numbers around 1) the next ones carry on
    assert assert_same(g, outputs, tmp_path, tolerance=5e-3, plan=plan)[op.lower()]


@pytest.mark.parametrize(
    ("op", "attributes"), [*((op, {}) for op in GATES), ("GRU", {"linear_before_reset": 1})], ids=str
)
@pytest.mark.parametrize(
    ("precision", "options", "kind"),
    [
        ("int8-weights", {}, "constexpr_blockwise_shift_scale"),
        ("palettized-4", {}, "constexpr_lut_to_dense"),
        ("palettized-2", {"group": HIDDEN}, "constexpr_lut_to_dense"),
        ("sparse", {"sparsity": 0.5}, "constexpr_sparse_to_dense"),
    ],
)
def test_compressed_weights(
    tmp_path: Path, op: str, attributes: dict[str, Any], precision: str, options: dict[str, Any], kind: str
) -> None:
    g, outputs = recurrent(op, "B h c", direction="bidirectional", **attributes)
    model = g.model(*outputs)
    assigned = assign_for(model, replace(coreml_scheme(precision), **options))
    plan = plan_for(model, assigned, None, "min-max")
    got = run(g, outputs, tmp_path, plan)
    program = open_package(tmp_path / "m.mlpackage").interfaces["main"].function
    assert sum(operation.kind == kind for operation in program.block.operations) == 4

    restored = Graph()
    restored.nodes, restored.inputs = g.nodes, g.inputs
    for tensor in g.constants:
        how, data = plan.compression(tensor.name), numpy_helper.to_array(tensor)
        restored.const(data if how is None else how.restored(data), tensor.name)
    for name, want in reference(restored.proto(*outputs), g.inputs).items():
        # float16 beside weights that are equal but for the rounding of their scales and tables to float16
        np.testing.assert_allclose(got[name], want, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(("late_reset", "kernel"), [(True, "int8-weights"), (False, "float32")])
def test_a_gru_that_is_written_out_keeps_its_weights(late_reset: bool, kernel: str) -> None:
    g, outputs = recurrent("GRU", "B h c", linear_before_reset=1)
    model = g.model(*outputs)
    plan = plan_for(model, assign_for(model, coreml_scheme("int8-weights", late_reset=late_reset)), None, "min-max")
    assert [entry.kernel for entry in plan.nodes.values()] == [kernel]


def test_outputs_that_nobody_reads(tmp_path: Path) -> None:
    g, _ = recurrent("LSTM", "B")
    assert_same(g, ["yc"], tmp_path)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [("GRU", {"linear_before_reset": 1, "direction": "bidirectional"}), ("LSTM", {"lengths": "lens"})],
    ids=str,
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_long_sequences_run_in_a_loop(tmp_path: Path, op: str, attributes: dict[str, Any], precision: str) -> None:
    g, outputs = recurrent(op, "B h c", steps=250, **attributes)
    # float32 over 250 steps; float16 has 11 bits, and a step loses what the next one carries on
    plan = Plan(precision, device={"name": "phone", "deployment": "iOS17"})  # iOS 18 has a GRU of this kind
    kinds = assert_same(g, outputs, tmp_path, 1e-5 if precision == "fp32" else 5e-3, plan)
    assert kinds["while_loop"] == (2 if op == "GRU" else 1)
