"""What cannot be lowered says why and what to do, in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import Graph, normal

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan
from edgeport.targets.tflite.target import TFLITE


def suppression() -> Graph:
    g = Graph()
    limits = [g.const(np.asarray(v)) for v in (np.int64(5), np.float32(0.5), np.float32(0.1))]
    g.op("NonMaxSuppression", g.input("boxes", normal(1, 6, 4)), g.input("scores", normal(1, 2, 6)), *limits, out="y")
    return g


def marked() -> Graph:
    g = Graph()
    g.op("NonZero", g.input("x", normal(3, 4)), out="y")
    return g


def counted() -> Graph:
    g = Graph()
    zero, one = g.const(np.int64(0)), g.const(np.int64(1))
    g.op("Range", zero, g.op("ArgMax", g.input("x", normal(5)), axis=0, keepdims=0), one, out="y")
    return g


@pytest.mark.parametrize(
    ("graph", "message", "hint"),
    [
        (suppression(), "NonMaxSuppression", "'boxes' and 'scores'"),
        (marked(), "NonZero", "mask"),
        (counted(), "Range", "constants"),
    ],
    ids=["NonMaxSuppression", "NonZero", "Range"],
)
def test_reason_and_way_out(tmp_path: Path, graph: Graph, message: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        TFLITE.lower(graph.model("y"), Plan("fp32"), tmp_path, "m")
    first = caught.value.findings[0]
    assert first.code == "unsupported-op"
    assert message in first.message
    assert hint in (first.hint or "")
    assert "\n" not in str(caught.value)
