"""The comparison of saved Core ML packages with ONNX Runtime on small canonical graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx_graphs import Graph, normal, reference

from edgeport.quantize.plan import Plan
from edgeport.targets.contract import Artifact
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.target import COREML

__all__ = ["Graph", "assert_same", "normal", "run"]


def assert_same(
    graph: Graph,
    outputs: Sequence[str],
    tmp_path: Path,
    tolerance: float = 1e-5,
    plan: Plan | None = None,
) -> Counter[str]:
    """The package's outputs equal ONNX Runtime's; returns how many operations of each kind it has.

    Both compute in float32 but sum in different orders: a few ulp (1e-7) times the number of terms stay well
    below 1e-5 for the sizes used here. Integers and booleans must be equal.
    """
    artifact, got = _lowered_and_run(graph, outputs, tmp_path, plan)
    for name, want in reference(graph.proto(*outputs), graph.inputs).items():
        assert got[name].dtype == want.dtype
        assert got[name].shape == want.shape
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got[name], want)
    program = open_package(artifact.path).interfaces["main"].function
    return Counter(operation.kind for operation in program.block.operations)


def run(graph: Graph, outputs: Sequence[str], tmp_path: Path, plan: Plan | None = None) -> dict[str, np.ndarray]:
    """The package's outputs."""
    return _lowered_and_run(graph, outputs, tmp_path, plan)[1]


def _lowered_and_run(
    graph: Graph, outputs: Sequence[str], tmp_path: Path, plan: Plan | None
) -> tuple[Artifact, dict[str, np.ndarray]]:
    model = graph.model(*outputs)
    artifact = COREML.lower(model, plan or Plan("fp32"), tmp_path, "m")
    return artifact, COREML.runner(artifact, model).run(graph.inputs)
