"""The Core AI target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeport.description import Description
from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile
from edgeport.targets.coreai import engine
from edgeport.targets.coreai.forms import in_own_forms
from edgeport.targets.coreai.lower import lower_graph, walk
from edgeport.targets.coreai.pace import slow_here
from edgeport.targets.coreai.runner import AimodelRunner
from edgeport.targets.coreai.scheme import PRECISIONS, coreai_scheme
from edgeport.targets.worker_process import WorkerError


@dataclass(frozen=True)
class CoreaiTarget:
    """Core AI on Apple's systems from 27 on: one .aimodel folder."""

    name: str = "coreai"
    suffix: str = ".aimodel"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ()
    toolchain: Mapping[str, str] = field(default_factory=lambda: {"coreai": "coreai-core==1.0.0b3"})

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What Core AI's kernels demand at that precision."""
        return coreai_scheme(precision)

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that cannot be lowered, from a dry run of the lowering in float."""
        plan = Plan("fp32")
        return walk(in_own_forms(graph, plan), plan)[1]

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.aimodel` and loads it once in Core AI's runtime.

        Raises:
            ModelError: a node cannot be lowered, or the toolchain does not take the program.
        """
        program = lower_graph(in_own_forms(graph, plan), plan)
        path = out / f"{name}{self.suffix}"
        try:
            engine.write(program, path, _notes(plan.description))
            seen = engine.inspect(path)
        except WorkerError as error:
            raise ModelError(f"coreai-core does not take the program: {error}") from error
        files = tuple(sorted(p for p in path.rglob("*") if p.is_file()))
        ops = Counter(step.kind for step in program.steps)
        facts = {
            "bytes": sum(p.stat().st_size for p in files),
            "ops": dict(sorted(ops.items())),
            "op_count": len(program.steps),
            "inputs": _ends(seen.inputs),
            "outputs": _ends(seen.outputs),
        }
        return Artifact(self.name, plan.precision, path, files, slow_here(program), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> AimodelRunner:
        """Core AI's own runtime."""
        return AimodelRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> None:
        """There is none."""


def _notes(said: Description) -> dict[str, Any]:
    """What a file says about itself beside its arithmetic."""
    notes: dict[str, Any] = {"edgeport.labels": list(said.labels)} if said.labels else {}
    if said.images:
        notes["edgeport.images"] = {name: asdict(image) for name, image in sorted(said.images.items())}
    return notes


def _ends(described: Mapping[str, tuple[tuple[int, ...], str]]) -> list[dict[str, object]]:
    return [{"name": name, "dtype": dtype, "shape": list(shape)} for name, (shape, dtype) in described.items()]


COREAI = CoreaiTarget()
