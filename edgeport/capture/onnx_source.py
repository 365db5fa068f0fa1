"""ONNX files and messages -> Captured."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeport.capture.branches import keep_fitting_branch, load
from edgeport.capture.captured import Captured, safe_name
from edgeport.capture.input_shapes import fix_inputs
from edgeport.capture.onnx_file import read_onnx_file
from edgeport.capture.onnx_graph import declared_inputs, read_graph, set_inputs, unknown_operators
from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import InputSpec, as_dtype
from edgeport.validate.onnx_runner import OnnxRunner

_ABOUT_TYPES = ("Type Error", "TypeInferenceError", "ShapeInferenceError")


def capture_onnx_file(path: Path, inputs: Sequence[InputSpec], keep_symbolic: bool) -> Captured:
    """Captures an ONNX file; the reference is ONNX Runtime on the file itself.

    Raises:
        ModelError: the file cannot be read, or ONNX Runtime cannot run it.
        UsageError: `inputs` contradict the model.
    """
    proto, digest = read_onnx_file(path)
    model, findings = read_graph(proto, str(path))
    return _finish(model, path, path.stem, digest, inputs, keep_symbolic, findings)


def capture_onnx_message(
    proto: onnx.ModelProto, name: str, inputs: Sequence[InputSpec], keep_symbolic: bool
) -> Captured:
    """Captures a model that a Python entry built; raises as `capture_onnx_file`."""
    data = proto.SerializeToString(deterministic=True)
    copy = onnx.ModelProto.FromString(data)
    model, findings = read_graph(copy, name)
    return _finish(model, data, name, hashlib.sha256(data).hexdigest(), inputs, keep_symbolic, findings)


def _finish(
    model: ir.Model,
    source: Path | bytes,
    name: str,
    digest: str,
    inputs: Sequence[InputSpec],
    keep_symbolic: bool,
    findings: list[Finding],
) -> Captured:
    where = str(source) if isinstance(source, Path) else name
    reference = _reference(source, model, where, findings)
    fixed = fix_inputs(declared_inputs(model, where), inputs, keep_symbolic)
    set_inputs(model, fixed)
    try:
        infer_outputs(model, where)
    except ModelError:
        fixed_branches = keep_fitting_branch(model)
        if not fixed_branches:
            raise
        findings.extend(fixed_branches)
        infer_outputs(model, where)
    key = hashlib.sha256(digest.encode())
    key.update("\n".join(map(str, fixed.specs)).encode())
    return Captured(model, safe_name(name), key.hexdigest(), reference, (*findings, *fixed.findings))


def _reference(source: Path | bytes, model: ir.Model, where: str, findings: list[Finding]) -> OnnxRunner:
    try:
        return OnnxRunner(source)
    except ModelError as error:
        unknown = unknown_operators(model)
        if unknown:
            names = sorted({str(f.op) for f in unknown})
            raise ModelError(
                f"{where} cannot be run: ONNX Runtime has no operator {', '.join(names)} ({len(unknown)} nodes); "
                "export the model with standard operators",
                unknown,
            ) from error
        try:
            runner = OnnxRunner(model)  # without recorded types, every node with a name of its own
        except ModelError:
            raise ModelError(f"{where}: {error}", error.findings) from error
        if any(word in str(error) for word in _ABOUT_TYPES):
            way_out = "types that the file records are wrong: del model.graph.value_info[:] and save it again"
            raise ModelError(f"{where}: {error}; {way_out}", error.findings) from error
        message = f"names in the file are wrong and were replaced: {error}"
        findings.append(Finding("warning", "wrong-names", message))
        return runner


def infer_outputs(model: ir.Model, where: str) -> None:
    """Checks that the graph loads with its fixed inputs, and writes the output shapes that follow from them.

    Raises:
        ModelError: ONNX Runtime cannot load the graph with these inputs.
    """
    try:
        runner = load(model)
    except ModelError as error:
        given = ", ".join(str(v.name) + str(v.shape) for v in model.graph.inputs)
        raise ModelError(f"{where}, with the inputs {given}: {error}", error.findings) from error
    for value, spec in zip(model.graph.outputs, runner.output_specs, strict=True):
        if value.producer() is None:
            continue
        value.type = ir.TensorType(ir.DataType.from_numpy(as_dtype(spec.dtype)))
        if spec.shape:  # an empty one is a scalar or an operator whose result ONNX Runtime cannot tell beforehand
            value.shape = ir.Shape(spec.shape)
