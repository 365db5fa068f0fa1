"""The ONNX Runtime target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from edgeport.description import Description
from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.quantize.plan import INTEGERS, Plan
from edgeport.quantize.scheme import Scheme
from edgeport.targets.contract import Artifact, Profile, facts_of
from edgeport.targets.lowering import refusal
from edgeport.targets.onnx_file import save
from edgeport.targets.onnxruntime.device import OPSET, Device, device_of
from edgeport.targets.onnxruntime.dialect import quantized_graph
from edgeport.targets.onnxruntime.forms import in_own_forms
from edgeport.targets.onnxruntime.kernels import Kernels, kernels_of, remarks
from edgeport.targets.onnxruntime.ort_file import SCHEME, SUFFIX, check_precision, convert
from edgeport.targets.onnxruntime.runner import OnnxruntimeRunner
from edgeport.targets.onnxruntime.scheme import PRECISIONS, onnxruntime_scheme
from edgeport.targets.onnxruntime.web import WebRunner
from edgeport.targets.opset.lower import attempt

_OPSETS = (OPSET, 21, CANONICAL_OPSET)
"""What is tried, in order: a file is to run in old versions of ONNX Runtime, too."""


@dataclass(frozen=True)
class OnnxruntimeTarget:
    """ONNX Runtime on phones, desktops and in browsers: one .onnx file."""

    name: str = "onnxruntime"
    suffix: str = ".onnx"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": (), SCHEME: ()})
    ends: tuple[str, ...] = ()
    toolchain: Mapping[str, str] = field(default_factory=dict)
    further_suffixes: tuple[str, ...] = (SUFFIX,)

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What ONNX Runtime's CPU kernels demand at that precision; `ort` makes an .ort file, `default` an .onnx file.

        Raises:
            UsageError: there is no such precision, or not as an .ort file.
        """
        if name == SCHEME:
            check_precision(precision)
        return onnxruntime_scheme(precision, device_of(facts_of(profile)))

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that the newest opset of the device does not have; without a device ONNX Runtime takes it all."""
        device = device_of(facts_of(profile))
        if device.newest_opset is None:
            return []
        found: list[Finding] = []
        for opset in _opsets(device):
            found = list(attempt(in_own_forms(graph, opset), opset)[1])
            if not found:
                return []
        return found

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.PRECISION.onnx` in the oldest opset that will do, or an .ort file of it, and loads it once.

        Raises:
            ModelError: no opset that the device reads can express a node, or ONNX Runtime does not load the file.
        """
        quantized = quantized_graph(graph, plan)
        path = out / f"{name}.{plan.precision}{self.suffix}"
        opset, files, kernels = _written(quantized, plan, path)
        if plan.scheme == SCHEME:
            path, sources = convert(path, device_of(plan.device)), files
            for file in sources:
                file.unlink()
            files = (path,)
        facts: dict[str, Any] = {
            "opset": opset,
            "bytes": sum(p.stat().st_size for p in files),
            "kernels": dict(kernels.counts),
        }
        if device_of(plan.device).browser:
            facts["browser"] = True
        return Artifact(self.name, plan.precision, path, files, remarks(kernels), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> OnnxruntimeRunner:
        """ONNX Runtime, with the options of an app."""
        return OnnxruntimeRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> WebRunner | None:
        """ONNX Runtime Web, for browsers."""
        return WebRunner(artifact.path, Path.cwd()) if artifact.facts.get("browser") else None


def _opsets(device: Device) -> tuple[int, ...]:
    newest = device.newest_opset or CANONICAL_OPSET
    return tuple(dict.fromkeys(min(opset, newest) for opset in _OPSETS))


def _written(quantized: ir.Model, plan: Plan, path: Path) -> tuple[int, tuple[Path, ...], Kernels]:
    """The file in the oldest opset that can express the graph and of which ONNX Runtime has all kernels."""
    findings: list[Finding] = []
    failure: ModelError | None = None
    opsets = _opsets(device_of(plan.device))
    planned = {name for name, node in plan.nodes.items() if node.kernel in INTEGERS}
    for opset in opsets:
        model, against = attempt(in_own_forms(quantized, opset), opset)
        if against:
            findings = findings or list(against)
            continue
        model.metadata_props.update(_notes(plan.description))
        files = save(model, path, "onnxruntime")
        try:
            return opset, files, kernels_of(path, planned)
        except ModelError as error:
            failure = error
            for file in files:
                file.unlink()
    raise failure or refusal(f"ONNX opset {opsets[-1]}", findings)


def _notes(said: Description) -> dict[str, str]:
    """What a file says about itself beside its arithmetic, as ONNX Runtime's metadata gives it to apps."""
    import json

    notes = {"edgeport.labels": json.dumps(list(said.labels))} if said.labels else {}
    if said.images:
        notes["edgeport.images"] = json.dumps({name: asdict(one) for name, one in sorted(said.images.items())})
    return notes


ONNXRUNTIME = OnnxruntimeTarget()
