"""Positions in a float16 program: their sines and cosines against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal

from edgeport.quantize.plan import Plan
from edgeport.targets.angles import angle_nodes


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_positions_are_exact(tmp_path: Path, dtype: type) -> None:
    g = Graph()
    positions = g.input("positions", np.array([[0, 1, 2047, 2049, 4095]], dtype))
    column = g.op("Unsqueeze", g.op("Cast", positions, to=1), g.const(np.array([2], np.int64)))
    angles = g.op("Mul", column, g.const(10000 ** (-np.arange(4) / 4).astype(np.float32)))
    outputs = [g.op("Cos", angles), g.op("Sin", angles)]
    # what is left is the rounding of the result to float16, whose terms follow in float16
    scaled = [g.op("Mul", value, g.const(np.float32(0.5))) for value in outputs]
    assert_same(g, scaled, tmp_path, 2**-11, Plan("fp16"))


def test_integers_are_exact(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.array([4097, 2049, -3001.5], np.float32))
    outputs = [g.op("Cast", x, to=7), g.op("Cast", g.op("Floor", x), to=6), g.op("Equal", x, g.const(np.float32(2049)))]
    assert_same(g, outputs, tmp_path, plan=Plan("fp16"))


def test_an_angle_behind_a_layer_stays_half() -> None:
    g = Graph()
    hidden = g.op("Relu", g.input("x", normal(1, 4)))
    g.op("Sin", g.op("Mul", hidden, g.const(np.float32(2))), out="y")
    assert not angle_nodes(g.model("y").graph)
