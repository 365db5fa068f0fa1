"""The ExecuTorch target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.quantize.plan import Plan
from edgeport.quantize.scheme import Scheme
from edgeport.sample import Array
from edgeport.targets.contract import Artifact, Profile
from edgeport.targets.executorch.scheme import PRECISIONS, executorch_scheme
from edgeport.targets.lowering import Refused, finding, refusal
from edgeport.targets.values import dtype_of, shape_of
from edgeport.targets.worker_process import WorkerError

if TYPE_CHECKING:
    from edgeport.targets.executorch.runner import PteRunner


@dataclass(frozen=True)
class ExecutorchTarget:
    """ExecuTorch on phones, with XNNPACK's kernels where it has some: one .pte file."""

    name: str = "executorch"
    suffix: str = ".pte"
    precisions: tuple[str, ...] = PRECISIONS
    schemes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"default": ()})
    ends: tuple[str, ...] = ()
    toolchain: Mapping[str, str] = field(
        default_factory=lambda: {"torch": "torch>=2.13,<2.15", "executorch": "executorch==1.5.1"}
    )

    def scheme(self, precision: str, profile: Profile | None, name: str = "default") -> Scheme:
        """What XNNPACK's kernels demand at that precision."""
        return executorch_scheme(precision)

    def check(self, graph: ir.Model, precision: str, profile: Profile | None) -> list[Finding]:
        """Every node that cannot be lowered, from a dry run of the lowering in float."""
        from edgeport.targets.executorch.forms import in_own_forms
        from edgeport.targets.executorch.lower import objections

        return _open(graph) or objections(in_own_forms(graph, Plan("fp32")))

    def lower(self, graph: ir.Model, plan: Plan, out: Path, name: str) -> Artifact:
        """Writes `out/name.pte`, then loads and runs it once in ExecuTorch's runtime.

        Raises:
            ModelError: a node cannot be lowered, or the runtime does not take the program.
        """
        import numpy as np
        import torch

        from edgeport.targets.executorch import engine
        from edgeport.targets.executorch.forms import in_own_forms
        from edgeport.targets.executorch.kernels import empty_tensors, failed_kernels, lacking_kernels, undelegated
        from edgeport.targets.executorch.lower import lower_graph
        from edgeport.targets.executorch.program import ExportError, compile_program

        form = in_own_forms(graph, plan)
        module = lower_graph(form)
        zeros = [np.zeros(shape_of(v), dtype_of(v)) for v in graph.graph.inputs]
        path = out / f"{name}{self.suffix}"
        inputs = tuple(torch.from_numpy(array) for array in zeros)
        try:
            try:
                program = compile_program(module, inputs)
            except ExportError:  # some of XNNPACK's passes stumble over graphs that the runtime's own kernels compute
                program = compile_program(module, inputs, delegate=False)
        except ExportError as error:
            raise ModelError(f"ExecuTorch's exporter does not take the graph: {error}", empty_tensors(form)) from error
        try:
            lacking = lacking_kernels(program, form, engine.operators())
            if lacking:
                raise refusal("ExecuTorch", lacking)
            path.write_bytes(program.data)
            seen = engine.inspect(path)
            _run_once(path, zeros)
        except WorkerError as error:
            path.unlink(missing_ok=True)
            failed = failed_kernels(program, form, str(error))
            raise ModelError(f"ExecuTorch's runtime does not run the program: {error}", failed) from error
        facts = {
            "bytes": len(program.data),
            "delegates": program.delegates,
            "undelegated": {op: len(tensors) for op, tensors in program.kernels.items()},
            "inputs": _ends(graph.graph.inputs, seen.inputs),
            "outputs": _ends(graph.graph.outputs, seen.outputs),
        }
        return Artifact(self.name, plan.precision, path, (path,), undelegated(program), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> PteRunner:
        """ExecuTorch's own runtime."""
        from edgeport.targets.executorch.runner import PteRunner

        return PteRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> None:
        """There is none."""


def _run_once(path: Path, zeros: list[Array]) -> None:
    """Runs a program on zeros, or where it cannot have these (a divisor, a length) on ones.

    Raises:
        WorkerError: it runs on neither.
    """
    from edgeport.targets.executorch import engine

    try:
        engine.run(path, zeros)
    except WorkerError as first:
        try:
            engine.run(path, [array + array.dtype.type(1) for array in zeros])
        except WorkerError:
            raise first from None


def _open(graph: ir.Model) -> list[Finding]:
    """Inputs of unknown size: a program has one size of each tensor."""
    findings = []
    for value in graph.graph.inputs:
        try:
            shape_of(value)
        except Refused as refused:
            findings.append(finding(refused, None))
    return findings


def _ends(values: object, described: object) -> list[dict[str, object]]:
    return [
        {"name": value.name, "dtype": dtype, "shape": list(shape)}
        for value, (shape, dtype) in zip(values, described, strict=True)  # type: ignore[call-overload]
    ]


EXECUTORCH = ExecutorchTarget()
