"""Programs of small graphs, run by ExecuTorch's own runtime, beside ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx_graphs import Graph, normal, reference

from edgeport import api
from edgeport.quantize.plan import Plan
from edgeport.targets.contract import Artifact
from edgeport.targets.executorch.target import EXECUTORCH

__all__ = ["Graph", "assert_same", "normal", "quantized", "reference"]


def assert_same(graph: Graph, outputs: Sequence[str], tmp_path: Path, tolerance: float = 1e-5) -> Artifact:
    """The program's outputs equal ONNX Runtime's.

    Both compute in float32 but sum in different orders: a few ulp (1e-7) times the number of terms stay well below
    1e-5 for the sizes used here. Integers and booleans must be equal.
    """
    model = graph.model(*outputs)
    artifact = EXECUTORCH.lower(model, Plan("fp32"), tmp_path, "m")
    got = EXECUTORCH.runner(artifact, model).run(graph.inputs)
    for name, want in reference(graph.proto(*outputs), graph.inputs).items():
        assert got[name].dtype == want.dtype
        assert got[name].shape == want.shape
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got[name], want, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got[name], want)
    return artifact


def quantized(
    graph: Graph, outputs: Sequence[str], tmp_path: Path, precision: str = "int8", scale: float = 1.0
) -> Mapping[str, Any]:
    """Exports a graph, calibrated on normal noise.

    Returns:
        facts: of the artifact; path: of the file; rungs: name -> SQNR in dB of the worst output, infinite if equal;
        findings: code and severity of each.
    """
    source = tmp_path / "m.onnx"
    onnx.save(graph.proto(*outputs), source)
    samples = [
        {name: (normal(*array.shape, seed=seed) * scale).astype(np.float32) for name, array in graph.inputs.items()}
        for seed in range(100, 116)
    ]
    result = api.export(
        str(source), target="executorch", precision=precision, calib=samples, out=tmp_path / "out", cache=False
    )
    (report,) = result.report["targets"]
    rungs = {
        rung["name"]: min(float("inf") if o["identical"] else o["sqnr_db"] for o in rung["outputs"])
        for rung in report["ladder"]["rungs"]
        if rung["outputs"]
    }
    findings = {(finding["code"], finding["severity"]) for finding in report["findings"]}
    path = Path(result.artifacts["executorch"])
    return {"facts": report["facts"], "path": path, "rungs": rungs, "findings": findings}
