"""Plans and files of small networks for the tests of the target."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx_graphs import Graph, normal
from qnnpack_engine import engine, torch

from edgeport import api
from edgeport.calibration import Statistics
from edgeport.planning import assign_for, plan_for
from edgeport.preparation import Prepared, prepare
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme import Scheme
from edgeport.sample import Array, Sample
from edgeport.targets.contract import Artifact
from edgeport.targets.qnnpack.lower import lower_graph
from edgeport.targets.qnnpack.proof import Counts, differing
from edgeport.targets.qnnpack.target import QNNPACK
from edgeport.validate.onnx_runner import OnnxRunner

__all__ = ["Graph", "Planned", "normal", "planned", "samples"]


@dataclass(frozen=True)
class Planned:
    """A prepared network with its plan."""

    prepared: Prepared
    plan: Plan
    scheme: Scheme
    held: Sequence[Sample]

    def lower(self, folder: Path) -> Artifact:
        return QNNPACK.lower(self.prepared.canonical, self.plan, folder, "m")

    def simulated(self, sample: Sample) -> dict[str, Array]:
        """What ONNX Runtime makes of the plan, written as Q/DQ."""
        return OnnxRunner(write_qdq(self.prepared.canonical, self.plan, self.scheme), simulate=True).run(sample)

    def compared(self) -> Counts:
        """Every integer kernel on a held-out sample, beside the numpy reference."""
        with engine():
            module = lower_graph(self.prepared.canonical, self.plan)
            graph = self.prepared.canonical.graph
            return differing(module, [torch.from_numpy(self.held[0][v.name or ""]) for v in graph.inputs])


def samples(graph: Graph, count: int = 12) -> list[dict[str, Any]]:
    """Floats of the same shapes as the graph's inputs; integers as they are."""
    return [
        {
            name: normal(*array.shape, seed=100 + i) if array.dtype == np.float32 else array
            for name, array in graph.inputs.items()
        }
        for i in range(count)
    ]


def planned(graph: Graph, *outputs: str, precision: str = "int8") -> Planned:
    """Calibrated on ten samples, where something needs them; two are held out."""
    given = samples(graph)
    proto = graph.proto(*outputs)
    prepared = prepare(proto)
    scheme = QNNPACK.scheme(precision, None)
    statistics, assigned = None, assign_for(prepared.canonical, scheme)
    if assigned.assignment.requests:
        with tempfile.TemporaryDirectory() as folder:
            source, file = Path(folder) / "m.onnx", Path(folder) / "s.safetensors"
            onnx.save(proto, source)
            api.calibrate(str(source), calib=given[:10], target="qnnpack", out=file, cache=False)
            statistics = Statistics.load(file)
    plan = plan_for(prepared.canonical, assigned, statistics, "mse")
    return Planned(prepared, plan, scheme, given[10:])
