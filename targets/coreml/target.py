"""The Core ML target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile, facts_of
from edgeport.targets.coreml.deployment import deployment, deployment_of
from edgeport.targets.coreml.finite_masks import with_finite_masks
from edgeport.targets.coreml.forms import in_own_forms
from edgeport.targets.coreml.lower import lower_graph
from edgeport.targets.coreml.pixels import with_pixels
from edgeport.targets.coreml.runner import PackageRunner
from edgeport.targets.coreml.scheme import PRECISIONS, coreml_scheme, floats_of
from edgeport.targets.coreml.write import write
from edgeport.targets.lowering import refusal


@dataclass(frozen=True)
class CoremlTarget:
    """Core ML on Apple's systems: one ML program in an .mlpackage."""

    name: str = "coreml"
    suffix: str = ".mlpackage"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ("float16", "images")
    toolchain: Mapping[str, str] = field(default_factory=lambda: {"coremltools": "coremltools>=9.0"})

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What Core ML's kernels demand at that precision.

        Raises:
            UsageError: there is no such precision, or the device's system is too old for it.
        """
        scheme = coreml_scheme(precision)
        deployment(precision, facts_of(profile))
        return scheme

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that cannot be lowered, from a dry run of the lowering in float."""
        plan = Plan("fp32", device=facts_of(profile))
        system = deployment_of(plan)
        return list(lower_graph(in_own_forms(graph, system), plan, system).findings)

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.mlpackage`.

        Raises:
            ModelError: a node cannot be lowered, or coremltools declines the program.
            UsageError: the device's system is too old for what the plan needs.
        """
        system = deployment_of(plan)
        if floats_of(plan) == "float16":
            graph = with_finite_masks(graph)
        graph, plan = with_pixels(graph, plan)
        graph = in_own_forms(graph, system)
        lowered = lower_graph(graph, plan, system)
        if lowered.findings:
            raise refusal("Core ML", list(lowered.findings))
        return write(lowered, graph, plan, system, out / f"{name}{self.suffix}")

    def runner(self, artifact: Artifact, graph: ir.Model) -> PackageRunner:
        """The evaluator of saved packages; on macOS Core ML itself."""
        return PackageRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> None:
        """There is none."""


COREML = CoremlTarget()
