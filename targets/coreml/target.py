"""The Core ML target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.shapes import Shaped
from edgeport.targets.contract import Artifact, Profile, facts_of
from edgeport.targets.coreml.band import HalfSums, half_sums
from edgeport.targets.coreml.deployment import deployment, deployment_of, is_at_least
from edgeport.targets.coreml.forms import in_own_forms
from edgeport.targets.coreml.lower import Lowered, lower_graph
from edgeport.targets.coreml.on_the_mac import with_selftest
from edgeport.targets.coreml.pixels import with_pixels
from edgeport.targets.coreml.runner import PackageRunner
from edgeport.targets.coreml.scheme import PRECISIONS, coreml_scheme, floats_of
from edgeport.targets.coreml.write import write
from edgeport.targets.finite_masks import with_finite_masks
from edgeport.targets.lowering import refusal
from edgeport.targets.unit_vectors import with_unit_vectors


@dataclass(frozen=True)
class CoremlTarget:
    """Core ML on Apple's systems: one ML program in an .mlpackage."""

    name: str = "coreml"
    suffix: str = ".mlpackage"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ("float16", "images", "shapes", "states")
    toolchain: Mapping[str, str] = field(default_factory=lambda: {"coremltools": "coremltools>=9.0"})

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What Core ML's kernels demand at that precision.

        Raises:
            UsageError: there is no such precision, or the device's system is too old for it.
        """
        coreml_scheme(precision)
        return coreml_scheme(precision, late_reset=is_at_least(deployment(precision, facts_of(profile)), "iOS18"))

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
        ready, lowered = _function(graph, plan, system)
        return with_selftest(write({"main": lowered}, ready, plan, system, out / f"{name}{self.suffix}"))

    def lower_shapes(self, shaped: Sequence[Shaped], out: Path, name: str) -> Artifact:
        """Writes `out/name.mlpackage` with a function for each set of input shapes, all on the same weights.

        Functions are called `main` and by their shapes, e.g. `main_1x3x320x320`. With another `shapes_as` in the plan
        they are made one that takes all the shapes, and computes the same numbers at each.

        Raises:
            ModelError: a node cannot be lowered, or coremltools declines the program.
            UsageError: the device's system is too old for several functions.
        """
        main = shaped[0].plan
        system = deployment_of(main, [("--shapes", "iOS18")])
        functions, graphs = {}, []
        for one in shaped:
            plan = replace(one.plan, description=replace(one.plan.description, labels=()))
            ready, lowered = _function(one.graph, plan, system)
            title = "_".join(("main", *(part.split("=")[-1] for part in one.label.split(",") if part)))
            functions[title] = lowered
            graphs.append(ready)
        path, form = out / f"{name}{self.suffix}", main.shapes_as
        artifact = write(functions, graphs[0], main, system, path, form)
        if form != "functions":
            return with_selftest(replace(artifact, facts={**artifact.facts, "shapes_as": form}))
        titles = {title: [end.facts() for end in one.ends] for title, one in functions.items()}
        return with_selftest(replace(artifact, facts={**artifact.facts, "functions": titles}))

    def runner(self, artifact: Artifact, graph: ir.Model) -> PackageRunner:
        """The evaluator of saved packages; on macOS Core ML itself."""
        return PackageRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> HalfSums | None:
        """The same evaluator with sums in float16, for packages that compute in it."""
        return None if artifact.precision == "fp32" else half_sums(self.runner(artifact, graph))


def _function(graph: ir.Model, plan: Plan, system: str) -> tuple[ir.Model, Lowered]:
    """The graph as it is lowered, and the function built from it.

    Raises:
        ModelError: a node cannot be lowered.
    """
    if floats_of(plan) == "float16":
        graph = with_unit_vectors(with_finite_masks(graph, plan), plan)
    graph, plan = with_pixels(graph, plan)
    graph = in_own_forms(graph, system)
    lowered = lower_graph(graph, plan, system)
    if lowered.findings:
        raise refusal("Core ML", list(lowered.findings))
    return graph, lowered


COREML = CoremlTarget()
