"""The QNNPACK target: files for the lite interpreter of PyTorch Mobile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile
from edgeport.targets.qnnpack.engine import engine, require_engine
from edgeport.targets.qnnpack.scheme import PRECISIONS, qnnpack_scheme

if TYPE_CHECKING:
    from edgeport.targets.qnnpack.lite import LiteRunner
    from edgeport.targets.qnnpack.runner import PtlRunner

_LEGACY = Finding(
    "info",
    "legacy",
    "PyTorch Mobile is no longer developed: TorchScript, the lite interpreter and quantized dtypes are deprecated",
    hint="for apps that still run it; new ones take --target executorch, onnxruntime or tflite",
)


@dataclass(frozen=True)
class QnnpackTarget:
    """PyTorch Mobile with QNNPACK: one .ptl file. Legacy."""

    name: str = "qnnpack"
    suffix: str = ".ptl"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ()
    toolchain: Mapping[str, str] = field(default_factory=lambda: {"torch": "torch>=2.9"})
    legacy: Finding = _LEGACY

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What QNNPACK's kernels demand at that precision."""
        return qnnpack_scheme(precision)

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that cannot be lowered, from a dry run of the lowering in float."""
        from edgeport.targets.qnnpack.lower import lower_graph

        require_engine()
        try:
            lower_graph(graph, Plan("fp32"))
        except ModelError as error:
            return [self.legacy, *error.findings]
        return [self.legacy]

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.ptl` and loads it once in the lite interpreter.

        Raises:
            ModelError: a node cannot be lowered, nothing runs in integers, or torch does not take the module.
            ToolchainError: this torch has no engine `qnnpack`.
        """
        from edgeport.targets.qnnpack.lite import first_line, load_lite
        from edgeport.targets.qnnpack.lower import integer_operators, lower_graph, refuse_floats
        from edgeport.targets.qnnpack.save import NEWEST, ptl_bytes

        path = out / f"{name}{self.suffix}"
        bytecode = int(plan.device.get("bytecode", NEWEST))
        with engine():
            module = lower_graph(graph, plan)
            refuse_floats(module, plan)
            try:
                path.write_bytes(ptl_bytes(module, _notes(plan), bytecode))
            except RuntimeError as error:
                raise ModelError(f"torch does not save the module: {first_line(error)}") from error
            load_lite(path)
        facts = {
            "bytes": path.stat().st_size,
            "ops": integer_operators(module),
            "op_count": sum(node.op == "call_function" for node in module.graph.nodes),
            "bytecode": bytecode,
        }
        return Artifact(self.name, plan.precision, path, (path,), (), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> PtlRunner:
        """The file's code in torch, which quantizes floats as phones do."""
        from edgeport.targets.qnnpack.runner import PtlRunner

        return PtlRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> LiteRunner:
        """The file as it is in torch's lite interpreter, which quantizes floats as desktops do."""
        from edgeport.targets.qnnpack.lite import LiteRunner

        return LiteRunner(artifact.path, graph)


def _notes(plan: Plan) -> dict[str, str]:
    """What a file says about itself beside its arithmetic."""
    said, notes = plan.description, {}
    if said.labels:
        notes["labels.json"] = json.dumps(list(said.labels))
    if said.images:
        notes["images.json"] = json.dumps({name: asdict(image) for name, image in sorted(said.images.items())})
    return notes


QNNPACK = QnnpackTarget()
