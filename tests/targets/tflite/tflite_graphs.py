"""The comparison of LiteRT with ONNX Runtime on small canonical graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_graphs import OPSET, Graph, normal, reference

from edgeport.quantize.plan import Plan
from edgeport.targets.contract import Artifact
from edgeport.targets.tflite.target import TFLITE

__all__ = ["OPSET", "Graph", "assert_same", "lower", "normal", "reference"]


def lower(graph: Graph, outputs: Sequence[str], tmp_path: Path, plan: Plan | None = None) -> tuple[Artifact, ir.Model]:
    """Lowers a graph to a file."""
    model = graph.model(*outputs)
    return TFLITE.lower(model, plan or Plan("fp32"), tmp_path, "m"), model


def assert_same(
    graph: Graph, outputs: Sequence[str], tmp_path: Path, rtol: float = 1e-5, atol: float = 1e-5
) -> Artifact:
    """LiteRT's outputs equal ONNX Runtime's.

    Both compute in float32 but sum in different orders: a few ulp (1e-7) times the number of terms stay well
    below 1e-5 for the sizes used here. Integers and booleans must be equal.
    """
    artifact, model = lower(graph, outputs, tmp_path)
    got = TFLITE.runner(artifact, model).run(graph.inputs)
    for name, want in reference(graph.proto(*outputs), graph.inputs).items():
        assert got[name].dtype == want.dtype
        assert got[name].shape == want.shape
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(got[name], want)
    return artifact
