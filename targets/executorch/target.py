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
    from torch import fx

    from edgeport.targets.executorch.program import Program
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

        from edgeport.targets.executorch import engine
        from edgeport.targets.executorch.arithmetic import has_integers, spell_out
        from edgeport.targets.executorch.forms import in_own_forms
        from edgeport.targets.executorch.kernels import undelegated
        from edgeport.targets.executorch.lower import lower_graph

        engine.WORKER.start()  # it loads the runtime while the exporter is at work
        form = in_own_forms(graph, plan)
        module = lower_graph(form)
        zeros = [np.zeros(shape_of(v), dtype_of(v)) for v in graph.graph.inputs]
        path = out / f"{name}{self.suffix}"
        findings = _left_out(plan)
        try:
            program = _proven(module, form, zeros, path)
        except _NotInXnnpack as error:
            # Some of XNNPACK's passes stumble over graphs that the runtime's own kernels compute.
            findings += _said_slow(error, has_integers(module))
            spell_out(module)
            program = _proven(module, form, zeros, path, delegate=False)
        seen = engine.inspect(path)
        facts = {
            "bytes": len(program.data),
            "delegates": program.delegates,
            "undelegated": {op: len(tensors) for op, tensors in program.kernels.items()},
            "inputs": _ends(graph.graph.inputs, seen.inputs),
            "outputs": _ends(graph.graph.outputs, seen.outputs),
        }
        return Artifact(self.name, plan.precision, path, (path,), (*findings, *undelegated(program)), facts)

    def runner(self, artifact: Artifact, graph: ir.Model) -> PteRunner:
        """ExecuTorch's own runtime."""
        from edgeport.targets.executorch.runner import PteRunner

        return PteRunner(artifact.path, graph)

    def second_runner(self, artifact: Artifact, graph: ir.Model) -> None:
        """There is none."""


class _NotInXnnpack(Exception):
    """XNNPACK's passes or its runtime do not take a graph; the message says why."""


def _proven(module: fx.GraphModule, form: ir.Model, zeros: list[Array], path: Path, delegate: bool = True) -> Program:
    """Writes the program of a module that the runtime has run once.

    Raises:
        ModelError: the runtime's kernels do not take it.
        _NotInXnnpack: XNNPACK does not.
    """
    import torch

    from edgeport.targets.executorch import engine
    from edgeport.targets.executorch.kernels import empty_tensors, failed_kernels, lacking_kernels
    from edgeport.targets.executorch.program import ExportError, compile_program

    try:
        program = compile_program(module, tuple(torch.from_numpy(array) for array in zeros), delegate)
    except ExportError as error:
        if delegate:
            raise _NotInXnnpack(error) from error
        raise ModelError(f"ExecuTorch's exporter does not take the graph: {error}", empty_tensors(form)) from error
    lacking = lacking_kernels(program, form, engine.operators())
    if lacking:
        raise refusal("ExecuTorch", lacking)
    path.write_bytes(program.data)
    try:
        _run_once(path, zeros)
    except WorkerError as error:
        path.unlink(missing_ok=True)
        if delegate and "XnnpackBackend" in str(error):
            raise _NotInXnnpack(error) from error
        failed = failed_kernels(program, form, str(error))
        raise ModelError(f"ExecuTorch's runtime does not run the program: {error}", failed) from error
    return program


def _left_out(plan: Plan) -> tuple[Finding, ...]:
    if not plan.description.labels:
        return ()
    return (Finding("warning", "labels-not-used", "a .pte file has no place for labels", hint="ship them beside it"),)


def _said_slow(error: _NotInXnnpack, integers: bool) -> tuple[Finding, ...]:
    what = "integers of the plan are rounded floats there" if integers else "it is slow"
    message = f"XNNPACK does not take the graph, ExecuTorch's own kernels compute all of it; {what} ({error})"
    return (Finding("warning", "undelegated", message, hint="--target onnxruntime or tflite may run it faster"),)


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
