"""Integers in XNNPACK against the plan's simulation in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from executorch_graphs import Graph, normal, quantized

LEAST_DB = 35.0
"""Of these networks, file against simulation: both round ties, and what lies next to them, in their own way, so that
one of many elements is a step of 8 bits off; each layer behind it spreads that."""


def cnn() -> Graph:
    """Every kind of layer that has an int8 kernel."""
    g = Graph()
    x = g.input("x", normal(1, 3, 12, 12))
    x = g.op("Conv", x, g.const(normal(16, 3, 3, 3, seed=1) * 0.3), g.const(normal(16, seed=9)), strides=[2, 2])
    x = g.op("Clip", x, g.const(np.float32(0)), g.const(np.float32(6)))
    d = g.op("Conv", x, g.const(normal(16, 1, 3, 3, seed=2)), group=16, pads=[1, 1, 1, 1])
    x = g.op("Add", g.op("Relu", d), x)
    y = g.op("Conv", x, g.const(normal(8, 16, 1, 1, seed=3) * 0.2))
    x = g.op("MaxPool", g.op("Concat", x, y, axis=1), kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Conv", x, g.const(normal(24, 24, 2, 2, seed=4) * 0.1), pads=[0, 0, 1, 1])
    x = g.op("ReduceMean", x, g.const(np.asarray([2, 3])), keepdims=0)
    x = g.op("MatMul", x, g.const(normal(24, 10, seed=5) * 0.2))
    g.op("Add", x, g.const(normal(10, seed=6)), out="y")
    return g


def test_a_network_is_one_part_in_integers(tmp_path: Path) -> None:
    done = quantized(cnn(), ["y"], tmp_path)
    assert done["facts"]["delegates"] == 1
    assert done["facts"]["undelegated"] == {}
    assert done["rungs"]["lowering"] > 100
    assert done["rungs"]["kernels"] > LEAST_DB
    weights = 16 * 27 + 16 * 9 + 8 * 16 + 24 * 24 * 4 + 240
    assert done["path"].stat().st_size < weights + 14_000  # operations, scales, biases


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "int4-weights"])
def test_linear_layers(tmp_path: Path, precision: str) -> None:
    g = Graph()
    x = g.op("MatMul", g.input("x", normal(1, 5, 64)), g.const(normal(64, 96, seed=1) * 0.1))
    x = g.op("Gelu", g.op("Add", x, g.const(normal(96, seed=2))))
    g.op("MatMul", x, g.const(normal(96, 32, seed=3) * 0.1), out="y")
    done = quantized(g, ["y"], tmp_path, precision)
    assert done["facts"]["undelegated"] == {}
    assert done["rungs"]["kernels"] > LEAST_DB
    if precision == "int8-dynamic":
        assert done["rungs"]["total"] > 38  # rows have scales of their own
    bits = 4 if precision == "int4-weights" else 8
    assert done["path"].stat().st_size < 9216 * bits / 8 + 14_000


def test_padding_on_one_side_of_a_quantized_convolution(tmp_path: Path) -> None:
    """XNNPACK pads with the zero point: with the number 0 an asymmetric range would be off at the border."""
    g = Graph()
    x = g.op("Relu", g.op("Conv", g.input("x", normal(1, 4, 9, 9)), g.const(normal(8, 4, 1, 1, seed=1))))
    g.op("Conv", x, g.const(normal(8, 8, 3, 3, seed=2) * 0.2), auto_pad="SAME_UPPER", strides=[2, 2], out="y")
    g.op("Conv", x, g.const(normal(8, 8, 4, 4, seed=3) * 0.2), auto_pad="SAME_LOWER", out="z")
    assert quantized(g, ["y", "z"], tmp_path)["rungs"]["kernels"] > LEAST_DB


def test_a_relu_between_two_scales(tmp_path: Path) -> None:
    """A clamp of XNNPACK's gives the integers that it takes, whatever scale is written behind it."""
    g = Graph()
    x = g.op(
        "Conv", g.input("x", normal(1, 4, 8, 8)), g.const(normal(8, 4, 3, 3, seed=1)), g.const(-9 * np.ones(8, "f"))
    )
    x = g.op("Concat", x, g.op("MaxPool", x, kernel_shape=[1, 1]), axis=1)
    g.op("Conv", g.op("Relu", x), g.const(normal(8, 16, 1, 1, seed=2)), out="y")
    assert quantized(g, ["y"], tmp_path)["rungs"]["kernels"] > LEAST_DB


@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_sums_of_very_different_scales(tmp_path: Path, factor: float) -> None:
    """XNNPACK has no addition whose operands' steps are under 2^-10 or over 2^8 of the sum's, and ends in an assertion
    for some."""
    g = Graph()
    x = g.input("x", normal(1, 4, 8, 8))
    a = g.op("Conv", x, g.const(normal(4, 4, 1, 1, seed=1)))
    b = g.op("Conv", x, g.const(normal(4, 4, 1, 1, seed=2) * np.float32(factor)))
    g.op("Conv", g.op("Add", a, b), g.const(normal(4, 4, 1, 1, seed=3)), out="y")
    assert quantized(g, ["y"], tmp_path)["rungs"]["kernels"] > LEAST_DB


def test_a_result_much_smaller_than_its_operands(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(1, 4, 8, 8))
    a, b = (g.op("Conv", x, g.const(normal(4, 4, 1, 1, seed=1) * np.float32(k))) for k in (1, 0.99999))
    g.op("Conv", g.op("Sub", a, b), g.const(normal(4, 4, 1, 1, seed=3)), out="y")
    done = quantized(g, ["y"], tmp_path)
    assert done["facts"]["undelegated"] == {}


def test_a_transposed_convolution_and_one_over_one_axis(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Conv", g.input("x", normal(1, 4, 16)), g.const(normal(8, 4, 5, seed=1) * 0.3), pads=[2, 2])
    x = g.op("Reshape", g.op("Relu", x), g.const(np.asarray([1, 8, 4, 4])))
    g.op("ConvTranspose", x, g.const(normal(8, 6, 2, 2, seed=2) * 0.3), strides=[2, 2], out="y")
    done = quantized(g, ["y"], tmp_path)
    assert done["facts"]["undelegated"] == {}
    assert done["rungs"]["kernels"] > LEAST_DB


def test_zeros_around_integers_that_a_float_pool_reads(tmp_path: Path) -> None:
    """XNNPACK would take the padding for one with an integer result, and not load the program."""
    g = Graph()
    x = g.op("Conv", g.input("x", normal(1, 4, 9, 9)), g.const(normal(8, 4, 3, 3, seed=1) * 0.3), pads=[1, 1, 1, 1])
    p = g.op("AveragePool", g.op("Relu", x), auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2])
    g.op("Softmax", p, axis=1, out="y")
    done = quantized(g, ["y"], tmp_path)
    assert done["facts"]["delegates"] >= 1
    assert done["rungs"]["kernels"] > LEAST_DB


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic"])
def test_what_xnnpack_stumbles_over_runs_in_the_runtimes_own_kernels(tmp_path: Path, precision: str) -> None:
    """A normalization across channels is a pool over three axes, of which XNNPACK's pass over layouts makes nothing."""
    g = Graph()
    x = g.op("Conv", g.input("x", normal(1, 3, 12, 12)), g.const(normal(8, 3, 3, 3, seed=1) * 0.3))
    x = g.op("LRN", g.op("Relu", x), size=5, alpha=0.05)
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    x = g.op("Relu", g.op("Conv", x, g.const(normal(8, 4, 3, 3, seed=2) * 0.3), group=2))
    x = g.op("MatMul", g.op("Flatten", x), g.const(normal(32, 10, seed=3) * 0.2))
    g.op("Softmax", x, axis=-1, out="y")
    done = quantized(g, ["y"], tmp_path, precision)
    assert done["facts"]["delegates"] == 0
    assert ("undelegated", "warning") in done["findings"]
    # What int8-dynamic rounds at run time stays float there.
    assert done["rungs"]["kernels"] > (100 if precision == "int8" else 30)
