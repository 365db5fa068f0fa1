"""The comparison of saved .aimodel folders, run by Core AI's own runtime, with ONNX Runtime on small graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx_graphs import Graph, normal, reference

from edgeport.quantize.plan import Plan
from edgeport.targets.coreai.target import COREAI

__all__ = ["Graph", "assert_same", "normal", "run"]


def assert_same(
    graph: Graph, outputs: Sequence[str], tmp_path: Path, tolerance: float = 1e-5, plan: Plan | None = None
) -> Mapping[str, int]:
    """The folder's outputs equal ONNX Runtime's; returns how often each operation stands in it.

    Both compute in float32 but sum in different orders: a few ulp (1e-7) times the number of terms stay well
    below 1e-5 for the sizes used here. Integers and booleans must be equal.
    """
    model = graph.model(*outputs)
    artifact = COREAI.lower(model, plan or Plan("fp32"), tmp_path, "m")
    got = COREAI.runner(artifact, model).run(graph.inputs)
    for name, want in reference(graph.proto(*outputs), graph.inputs).items():
        assert got[name].dtype == want.dtype
        assert got[name].shape == want.shape
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got[name], want)
    operations: Mapping[str, int] = artifact.facts["ops"]
    return operations


def run(graph: Graph, outputs: Sequence[str], tmp_path: Path, plan: Plan | None = None) -> dict[str, np.ndarray]:
    """The folder's outputs."""
    model = graph.model(*outputs)
    artifact = COREAI.lower(model, plan or Plan("fp32"), tmp_path, "m")
    return COREAI.runner(artifact, model).run(graph.inputs)
