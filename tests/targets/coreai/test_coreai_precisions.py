"""Integers, palettes and float16 in Core AI's runtime, against the plan's simulation in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from coreai_graphs import Graph, normal, reference

from edgeport import api
from edgeport.quantize.plan import Plan
from edgeport.targets.coreai.target import COREAI

LEAST_DB = {
    "fp32": 100.0,
    "fp16": 45.0,  # 11 bits of mantissa, in which products are summed, too
    "int8": 40.0,  # a tie that is rounded the other way is one step of 8 bits in one of many elements
    "int8-weights": 100.0,
    "int4-weights": 100.0,
    "palettized-8": 100.0,
    "palettized-4": 100.0,
    "palettized-2": 100.0,
}
"""Distance of the file from the plan's simulation: what is float32 apart from its weights sums in another order."""


def network() -> Graph:
    """Every kind of layer that has weights."""
    g = Graph()
    x = g.op(
        "Conv", g.input("x", normal(1, 3, 8, 8)), g.const(normal(32, 3, 3, 3, seed=1)), g.const(normal(32, seed=9))
    )
    x = g.op("MaxPool", g.op("Relu", x), kernel_shape=[2, 2], strides=[2, 2])
    y = g.op("Conv", x, g.const(normal(32, 32, 3, 3, seed=2) * 0.1), pads=[1, 1, 1, 1])
    x = g.op("Flatten", g.op("Relu", g.op("Add", x, y)))
    x = g.op("MatMul", x, g.const(normal(288, 64, seed=3) * 0.1))
    x = g.op("Gelu", g.op("Add", x, g.const(normal(64, seed=4))))
    g.op("MatMul", x, g.const(normal(64, 10, seed=5) * 0.2), out="y")
    return g


@pytest.mark.parametrize("precision", LEAST_DB)
def test_files_do_what_the_plan_says(tmp_path: Path, precision: str) -> None:
    source, samples = tmp_path / "m.onnx", [{"x": normal(1, 3, 8, 8, seed=seed)} for seed in range(100, 116)]
    onnx.save(network().proto("y"), source)
    result = api.export(
        str(source), target=["coreai"], precision=precision, calib=samples, out=tmp_path / "out", cache=False
    )
    (report,) = result.report["targets"]
    rungs = {rung["name"]: rung["outputs"][0] for rung in report["ladder"]["rungs"] if rung["outputs"]}
    last = rungs["lowering" if precision == "fp32" else "kernels"]
    assert last["identical"] or last["sqnr_db"] >= LEAST_DB[precision]
    path = Path(result.artifacts["coreai"])
    size = sum(p.stat().st_size for p in path.iterdir())
    digits = "".join(c for c in precision.split("-")[-1] if c.isdigit())
    bits = int(digits or 8) if precision != "int4-weights" else 8  # of convolutions
    weights = 32 * 27 + 32 * 32 * 9 + 288 * 64 + 640
    assert size < weights * bits / 8 + 16_000  # what is no weight: operations, names, scales, tables
    assert report["verdict"] == "measured"
    assert precision == "fp32" or len(report["layers"]) > 5


def test_float16_keeps_what_it_cannot_hold_in_float32(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.asarray([[1e6, -np.inf, 3.0, 2049.0], [1.0, 2.0, np.inf, 0.5]], np.float32))
    outputs = [
        g.op("IsInf", x),
        *g.op("LayerNormalization", g.input("y", normal(2, 6)), g.const(normal(6)), out=["n", "", "s"]),
        g.op("CumSum", g.input("z", np.ones(3000, np.float32)), g.const(np.int64(0))),
    ]
    outputs.remove("")
    model = g.model(*outputs)
    got = COREAI.runner(COREAI.lower(model, Plan("fp16"), tmp_path, "m"), model).run(g.inputs)
    want = reference(g.proto(*outputs), g.inputs)
    np.testing.assert_array_equal(got[outputs[0]], want[outputs[0]])
    np.testing.assert_array_equal(got[outputs[-1]], want[outputs[-1]])
    np.testing.assert_allclose(got["n"], want["n"], rtol=5e-3, atol=5e-3)  # 11 bits of mantissa, a few roundings
