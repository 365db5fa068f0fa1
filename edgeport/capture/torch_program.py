"""ExportedProgram -> Captured, through torch.onnx.export(dynamo=True)."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import PureWindowsPath
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from edgeport.capture.captured import Captured, safe_name
from edgeport.capture.input_shapes import fix_inputs
from edgeport.capture.onnx_file import digest_message
from edgeport.capture.onnx_graph import declared_inputs, read_graph, set_inputs
from edgeport.capture.onnx_source import infer_outputs
from edgeport.capture.torch_runner import CallForm, Slot, TorchRunner
from edgeport.errors import CalibrationError, ModelError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec

_MODES = ("training", "train")
"""Names of operator arguments that are true only where a module was exported in training mode."""


def capture_program(
    program: torch.export.ExportedProgram,
    name: str,
    inputs: Sequence[InputSpec] = (),
    keep_symbolic: bool = False,
    *,
    call: Callable[..., Any] | None = None,
    input_names: Sequence[str] = (),
) -> Captured:
    """Captures an exported program.

    Args:
        program: exported in eval mode.
        name: what to call it.
        inputs: fix its symbolic dimensions.
        keep_symbolic: leave dimensions open that `inputs` does not fix.
        call: the reference; without it the program itself. It takes what the program takes.
        input_names: names for the tensor inputs, in order; without them those of the program.

    Raises:
        ModelError: the program is in training mode, changes its buffers, takes or returns something other than
            tensors, or has no ONNX form.
        UsageError: `inputs` contradict the program.
    """
    _check_mode(program, name)
    form, found_names = _call_form(program, name)
    names = tuple(input_names) or found_names
    if names != found_names:
        renamed = dict(zip(found_names, names, strict=True))
        leaves = tuple(Slot(renamed[x.name]) if isinstance(x, Slot) else x for x in form.leaves)
        form = CallForm(form.spec, leaves)
    outputs = _output_names(program, name, set(names))
    proto = _to_onnx(program, name)
    model, findings = read_graph(proto, name)
    _rename(model, names, outputs, name)
    fixed = fix_inputs(declared_inputs(model, name), inputs, keep_symbolic)
    set_inputs(model, fixed)
    digest = digest_message(ir.to_proto(model))
    infer_outputs(model, name)
    reference = TorchRunner(call or _callable(program), form, fixed.specs, outputs)
    _check_reference(reference, model, name)
    key = hashlib.sha256(digest.encode() + "\n".join(map(str, fixed.specs)).encode())
    return Captured(model, safe_name(name), key.hexdigest(), reference, (*findings, *fixed.findings))


def example_array(spec: InputSpec) -> Array:
    """A deterministic value of a static specification: normal noise; ones where it is integer (any index table has
    a second row) or boolean."""
    shape = tuple(int(d) for d in spec.shape)
    if spec.dtype.startswith("float"):
        return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype)
    return np.ones(shape, spec.dtype)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps torch's progress marks, graph dumps, warnings and logs off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def export_error(error: BaseException, name: str) -> ModelError:
    """torch's pages of advice as one line: the innermost cause and the line of the user's code, where it is told."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(root)).splitlines() if line.strip()]
    places = re.findall(r'File "([^"]+)", line (\d+), in \w+', str(error))
    place = f" at {PureWindowsPath(places[-1][0]).name}:{places[-1][1]}" if places else ""  # reads both separators
    message = f"{type(root).__name__}: {lines[0][:300] if lines else ''}"
    return ModelError(
        f"torch cannot export {name}{place}: {message}; change the module, or give an ONNX file of it",
        [Finding("error", "torch-export", message)],
    )


def _check_mode(program: torch.export.ExportedProgram, name: str) -> None:
    findings = []
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None:
            continue
        given = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | dict(node.kwargs)
        if any(given.get(mode) is True for mode in _MODES):
            op = schema.name.removeprefix("aten::")
            findings.append(Finding("error", "training-mode", f"{op} runs in training mode", node.name, op))
    if findings:
        raise ModelError(
            f"{name} was exported in training mode ({findings[0].node} and {len(findings) - 1} more); call .eval() on "
            "the module before torch.export.export",
            findings,
        )


def _call_form(program: torch.export.ExportedProgram, name: str) -> tuple[CallForm, tuple[str, ...]]:
    leaves: list[Any] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT:
            continue
        if isinstance(spec.arg, TensorArgument):
            leaves.append(Slot(spec.arg.name))
        elif isinstance(spec.arg, ConstantArgument):
            leaves.append(spec.arg.value)
        else:
            raise ModelError(f"{name} takes the number {spec.arg.name!r} as an input; make it a tensor or a constant")
    names = tuple(leaf.name for leaf in leaves if isinstance(leaf, Slot))
    return CallForm(program.call_spec.in_spec, tuple(leaves)), names


def _output_names(program: torch.export.ExportedProgram, name: str, taken: set[str]) -> tuple[str, ...]:
    """Names from the keys of what the module returns (`logits`), else `output`, or `output_0` and on."""
    args = [s.arg for s in program.graph_signature.output_specs if s.kind is OutputKind.USER_OUTPUT]
    strange = [a for a in args if not isinstance(a, TensorArgument) and getattr(a, "value", 0) is not None]
    if strange:
        raise ModelError(f"{name} returns something other than tensors; return tensors only")
    paths, _ = pytree.tree_flatten_with_path(pytree.tree_unflatten(list(args), program.call_spec.out_spec))
    names: list[str] = []
    tensors = [(path, arg) for path, arg in paths if isinstance(arg, TensorArgument)]
    for path, _arg in tensors:
        keys = [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", "")))) for k in path]
        keyed = any(not k.isdigit() for k in keys)
        base = "_".join(keys if keyed else ["output", *(keys if len(tensors) > 1 else [])])
        base = re.sub(r"[^A-Za-z0-9_.]+", "_", base)
        unique, count = base, 0
        while unique in taken:
            unique, count = f"{base}_out{count or ''}", count + 1
        taken.add(unique)
        names.append(unique)
    return tuple(names)


def _to_onnx(program: torch.export.ExportedProgram, name: str) -> onnx.ModelProto:
    try:
        with quiet(), torch.no_grad():
            result = torch.onnx.export(program, dynamo=True, verbose=False)
            assert result is not None  # None is what the other exporter returns
            proto, functional = result.model_proto, result.exported_program
    except Exception as error:  # torch's exporter has no public root of its exceptions
        raise export_error(error, name) from error
    assert functional is not None  # the program as functions only: writes to buffers have become outputs of it
    signature = functional.graph_signature
    changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
    if changed:
        raise ModelError(
            f"{name} changes {', '.join(map(repr, changed[:3]))} while it runs, which a graph cannot; "
            "pass the state in and return it"
        )
    return proto


def _rename(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str], name: str) -> None:
    graph = model.graph
    if len(graph.inputs) != len(inputs) or len(graph.outputs) != len(outputs):
        raise ModelError(
            f"{name}: the ONNX graph has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, the module "
            f"{len(inputs)} and {len(outputs)}; export it to ONNX yourself and give the file"
        )
    wanted = dict(zip(graph.inputs, inputs, strict=True)) | dict(zip(graph.outputs, outputs, strict=True))
    reserved = set(wanted.values())
    inner = [v for node in ir.traversal.RecursiveGraphIterator(graph) for v in node.outputs]
    clashing = [v for v in (*inner, *graph.initializers.values()) if v.name in reserved and v not in wanted]
    used = reserved | {str(v.name) for v in (*inner, *graph.initializers.values())}
    for value in clashing:
        count = 0
        while (fresh := f"{value.name}_inner{count or ''}") in used:
            count += 1
        used.add(fresh)
        value.name = fresh
    for index, value in enumerate(wanted):  # two steps, because two values may swap their names
        value.name = f"edgeport_rename_{index}"
    for value, text in wanted.items():
        value.name = text


def _callable(program: torch.export.ExportedProgram) -> Callable[..., Any]:
    with quiet():
        module: Callable[..., Any] = program.module()
    return module


def _check_reference(reference: TorchRunner, model: ir.Model, name: str) -> None:
    """One run on example values: outputs must have the shapes that the graph promises."""
    if not all(spec.static for spec in reference.inputs):
        return
    try:
        with quiet():
            got = reference.run({spec.name: example_array(spec) for spec in reference.inputs})
    except CalibrationError as error:
        inputs = ", ".join(map(str, reference.inputs))
        raise ModelError(f"{name} does not run with the inputs {inputs}: {error}; change --input") from error
    for value in model.graph.outputs:
        shape = tuple(d for d in value.shape or ())
        real = got[str(value.name)].shape
        if len(shape) != len(real) or any(isinstance(d, int) and d != r for d, r in zip(shape, real, strict=True)):
            raise ModelError(
                f"{name}: output {value.name!r} is {list(real)} in torch and {list(shape)} in the ONNX graph"
            )
