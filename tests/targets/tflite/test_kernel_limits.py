"""Where LiteRT's kernels end: what they refuse or compute wrongly never reaches a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_full_integer import exported
from test_integers import assert_simulated, conv, plan_of
from tflite_graphs import Graph, assert_same, normal, reference

from edgeport.calibration import collect
from edgeport.planning import assign_for, plan_for, tensors_to_observe
from edgeport.targets.tflite.target import TFLITE


def square() -> tuple[Graph, str]:
    """A matrix times itself, stored channels last: one TRANSPOSE feeds both operands."""
    g = Graph()
    x = conv(g, g.input("x", normal(1, 2, 8, 8)), 2, 2)
    return g, conv(g, g.op("MatMul", x, x), 2, 2, size=1)


def test_a_tensor_times_itself(tmp_path: Path) -> None:
    g, y = square()
    assert_same(g, [y], tmp_path, atol=1e-4)  # sums of squares around 100, in another order


def test_a_tensor_times_itself_in_integers(tmp_path: Path) -> None:
    g, y = square()
    assert_simulated(g, [y], tmp_path)


@pytest.mark.parametrize("transposed", [False, True], ids=["convolution", "transposed"])
def test_outputs_far_finer_than_the_steps_of_a_convolution(transposed: bool, tmp_path: Path) -> None:
    """XNNPACK does not create a convolution whose output is 2^8 times finer than the product of its scales."""
    g = Graph()
    x, w = g.input("x", normal(1, 4, 6, 6) * 1e3), g.const(normal(4, 4, 3, 3, seed=1) * 1e3)
    y = g.op("ConvTranspose" if transposed else "Conv", x, w)
    y = g.op("Clip", y, g.const(np.float32(0)), g.const(np.float32(6)))
    model, plan = plan_of(g, [y])
    got = TFLITE.runner(TFLITE.lower(model, plan, tmp_path, "m"), model).run(g.inputs)[y]
    want = reference(g.proto(y), g.inputs)[y] > 0
    # A step of the sums is far larger than 6: what is left is whether the sum is positive.
    assert np.mean((got > 0) == want) > 0.98


def test_hard_swish_far_finer_than_its_input(tmp_path: Path) -> None:
    """LiteRT's kernel ends at 2^7: here -0.05 is the largest of results, and inputs reach -300."""
    g = Graph()
    x = g.op("Relu", g.op("MatMul", g.input("x", normal(1, 16) * 10), g.const(normal(16, 16, seed=1))))
    y = g.op("Sub", g.const(np.float32(-2.9)), x)
    z = g.op("HardSwish", y)
    model, _, artifact = exported(g, [y, z], tmp_path)
    assert np.abs(TFLITE.runner(artifact, model).run(g.inputs)[z]).max() < 1


def test_what_a_float_operator_made_stays_exact_for_float_readers(tmp_path: Path) -> None:
    """The integer form stands in the layout that the Gelu wants, too; the float one would have to move."""
    g = Graph()
    x = g.input("x", normal(1, 4, 8, 8))
    first = conv(g, x, 4, 4)
    kept = g.op("Gelu", x)
    model, plan = plan_of(g, [first, kept])
    got = TFLITE.runner(TFLITE.lower(model, plan, tmp_path, "m"), model).run(g.inputs)[kept]
    # float32 arithmetic alone; the input in 8 bits would be off by 1e-2
    np.testing.assert_allclose(got, reference(g.proto(kept), g.inputs)[kept], atol=1e-6)


def test_a_scale_that_depends_on_itself(tmp_path: Path) -> None:
    """The square shares its operand's scale through the Concat: a step of over 100 would have to grow without end."""
    g = Graph()
    x = conv(g, g.input("x", normal(1, 4, 6, 6) * 1e5), 4, 4)
    y = conv(g, g.op("Concat", x, g.op("Mul", x, x), axis=1), 8, 4)
    model = g.model(y)
    assigned = assign_for(model, TFLITE.scheme("int8", None))
    statistics = collect(model, [g.inputs], dict.fromkeys(tensors_to_observe([assigned]), "histogram"))
    plan = plan_for(model, assigned, statistics, "min-max")
    got = TFLITE.runner(TFLITE.lower(model, plan, tmp_path, "m"), model).run(g.inputs)[y]
    want = reference(g.proto(y), g.inputs)[y]
    assert np.square(want).sum() > 1000 * np.square(got - want).sum()  # 30 dB: two convolutions in 8 bits
