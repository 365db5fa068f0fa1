"""nn.Module -> ExportedProgram -> Captured."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from edgeport.capture.captured import Captured
from edgeport.capture.input_shapes import DeclaredInput, fix_inputs, near_names
from edgeport.capture.torch_program import capture_program, example_array, export_error, quiet
from edgeport.capture.torch_runner import evaluating
from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding
from edgeport.sample import InputSpec

_EXAMPLE_SIZE = 4
"""Size of a dimension that stays open, while tracing; 0 and 1 would be taken for constants."""


@dataclass(frozen=True)
class Example:
    """One call of the module to trace.

    Attributes:
        args: positional arguments.
        kwargs: keyword arguments.
        dynamic_shapes: as torch.export takes them.
        names: the tensor inputs in order, where they are not forward's parameter names.
        inputs: their specifications; from the user's flags if empty.
        findings: what was decided about them.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dynamic_shapes: dict[str, Any] | None = None
    names: tuple[str, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    findings: tuple[Finding, ...] = ()


def capture_module(
    module: torch.nn.Module,
    name: str,
    inputs: Sequence[InputSpec] = (),
    keep_symbolic: bool = False,
    example: Example | None = None,
) -> Captured:
    """Captures a module in eval mode; the caller's module keeps its mode and device.

    Args:
        module: its `forward` takes tensors.
        name: what to call it.
        inputs: dtype and shape of each of forward's parameters; the ones without a default are required unless
            there is an example.
        keep_symbolic: leave dimensions open that `inputs` names by a symbol.
        example: a call to trace, instead of one made from `inputs`.

    Raises:
        ModelError: inputs are missing, or the module cannot be exported.
        UsageError: `inputs` name something that forward does not take.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(f"{name} is TorchScript, which torch.export does not read; give the module it was made from")
    try:
        with quiet():
            module = copy.deepcopy(module).cpu()
    except Exception:  # weights that were computed (weight_norm) cannot be copied; the mode is put back afterwards
        if any(p.device.type != "cpu" for p in module.parameters()):
            raise ModelError(f"{name} lies on an accelerator and cannot be copied; call .cpu() on it first") from None
    made = example or _example(module, name, inputs, keep_symbolic)
    try:
        with quiet(), torch.no_grad(), evaluating(module):
            program = torch.export.export(
                module, made.args, dict(made.kwargs), dynamic_shapes=made.dynamic_shapes, strict=False
            )
    except Exception as error:  # whatever a user's forward or torch's tracer raises
        raise export_error(error, name) from error
    captured = capture_program(program, name, made.inputs or inputs, keep_symbolic, call=module, input_names=made.names)
    return replace(captured, findings=(*made.findings, *captured.findings))


def _example(module: torch.nn.Module, name: str, inputs: Sequence[InputSpec], keep_symbolic: bool) -> Example:
    parameters = list(inspect.signature(module.forward).parameters.values())
    kinds = inspect.Parameter
    named = [p for p in parameters if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    starred = any(p.kind is kinds.VAR_POSITIONAL for p in parameters)
    missing = [p.name for p in named if p.default is kinds.empty and p.name not in {s.name for s in inputs}]
    unknown = [s for s in inputs if s.name not in {p.name for p in named}]
    if unknown and not starred:
        names = [p.name for p in named]
        raise UsageError(
            f'--input "{unknown[0]}": forward of {name} has no parameter {unknown[0].name!r}; '
            f"{near_names(unknown[0].name, names)}"
        )
    if missing or (starred and not inputs):
        flags = " ".join(f'--input "{n}:float32[1,3,224,224]"' for n in missing or ["x"])
        raise ModelError(
            f"a torch module does not say what it takes: {name} needs {', '.join(map(repr, missing)) or 'inputs'}; "
            f"give dtype and shape, e.g. {flags}"
        )
    declared = [DeclaredInput(s.name, s.dtype, s.shape) for s in inputs]
    fixed = fix_inputs(declared, inputs, keep_symbolic)
    specs = {s.name: s for s in fixed.specs}
    tensors = {n: torch.from_numpy(example_array(_sized(s))) for n, s in specs.items()}
    args, kwargs, gap = [], {}, False
    for parameter in named:
        gap = gap or parameter.name not in tensors or parameter.kind is kinds.KEYWORD_ONLY
        if parameter.name in tensors and gap:
            kwargs[parameter.name] = tensors[parameter.name]
        elif parameter.name in tensors:
            args.append(tensors[parameter.name])
    order = [p.name for p in named if p.name in tensors]
    if unknown:
        args += [tensors[s.name] for s in unknown]
        positional = [n for n in order if n not in kwargs]
        order = [*positional, *(s.name for s in unknown), *kwargs]
    dynamic = _dynamic_shapes(specs, bool(unknown))
    return Example(tuple(args), kwargs, dynamic, tuple(order), fixed.specs, fixed.findings)


def _sized(spec: InputSpec) -> InputSpec:
    return InputSpec(spec.name, spec.dtype, tuple(_EXAMPLE_SIZE if isinstance(d, str) else d for d in spec.shape))


def _dynamic_shapes(specs: Mapping[str, InputSpec], starred: bool) -> dict[str, Any] | None:
    if all(spec.static for spec in specs.values()):
        return None
    if starred:
        raise ModelError("dimensions of *args cannot stay open; give a number for each in --input")
    symbols = {d for spec in specs.values() for d in spec.shape if isinstance(d, str)}
    dims = {s: torch.export.Dim(s) for s in sorted(symbols) if s.isidentifier()}
    if len(dims) != len(symbols):
        raise UsageError(f"--input: {min(symbols - dims.keys())!r} is no name for a dimension; use letters and digits")
    return {
        name: {i: dims[d] for i, d in enumerate(spec.shape) if isinstance(d, str)} or None
        for name, spec in specs.items()
    }
