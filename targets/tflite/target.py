"""The TFLite target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.findings import Finding
from edgeport.passes.edit import static_shape
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile
from edgeport.targets.tflite.full_integer import PASSES, full_integer_scheme
from edgeport.targets.tflite.half import half_arithmetic
from edgeport.targets.tflite.lower import lower_graph, walk
from edgeport.targets.tflite.metadata import metadata, with_files
from edgeport.targets.tflite.micro import MicroRunner, micro_runner
from edgeport.targets.tflite.runner import LiteRtRunner
from edgeport.targets.tflite.scheme import tflite_scheme
from edgeport.targets.tflite.verify import inspect_file

_MICRO = ("int8", "int16x8")


@dataclass(frozen=True)
class TfliteTarget:
    """LiteRT (TensorFlow Lite) on phone CPUs: one .tflite file."""

    name: str = "tflite"
    suffix: str = ".tflite"
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int4-weights", "int16x8")
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": (), "full-integer": PASSES})
    ends: tuple[str, ...] = ("nhwc", "int8", "uint8", "int16")
    toolchain: Mapping[str, str] = field(default_factory=lambda: {"ai_edge_litert": "ai-edge-litert>=2.3"})

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What LiteRT's XNNPACK kernels demand at that precision; `full-integer` wants integers everywhere.

        Raises:
            UsageError: full-integer at another precision than int8.
        """
        if name == "default":
            return tflite_scheme(precision)
        if precision != "int8":
            raise UsageError(f"--scheme {name} is for --precision int8, not {precision}")
        return full_integer_scheme()

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that cannot be lowered, from a dry run of the lowering in float."""
        tflite_scheme(precision)
        return walk(graph, Plan("fp32"), dry=True)[1]

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.tflite` and loads it once in LiteRT.

        Raises:
            ModelError: a node cannot be lowered, or LiteRT does not take the file.
        """
        notes, remarks = half_arithmetic(graph, plan)
        ends = {v.name or "": static_shape(v) or () for v in graph.graph.outputs}
        notes |= metadata(name, [v.name or "" for v in graph.graph.inputs], ends, plan.description)
        data = with_files(lower_graph(graph, plan, notes), plan.description)
        facts, findings = inspect_file(data, name)
        path = out / f"{name}.tflite"
        path.write_bytes(data)
        return Artifact(self.name, plan.precision, path, (path,), (*remarks, *findings), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> LiteRtRunner:
        """LiteRT on this machine."""
        return LiteRtRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> MicroRunner | None:
        """tflite-micro, where it is installed, for files that may be meant for microcontrollers: static integers."""
        return micro_runner(artifact.path, self.runner(artifact, graph)) if artifact.precision in _MICRO else None


TFLITE = TfliteTarget()
