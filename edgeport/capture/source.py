"""Any source -> Captured."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from edgeport.capture.captured import Captured
from edgeport.capture.onnx_source import capture_onnx_file, capture_onnx_message
from edgeport.capture.python_entry import built_by
from edgeport.capture.torch_file import is_torch_file, load_program
from edgeport.entry import is_entry
from edgeport.errors import ModelError, UsageError
from edgeport.sample import InputSpec

if TYPE_CHECKING:
    import torch

_FOREIGN = {
    ".tflite": "a TFLite file",
    ".mlmodel": "a Core ML file",
    ".mlpackage": "a Core ML package",
    ".aimodel": "a Core AI package",
    ".pb": "a TensorFlow graph",
    ".h5": "a Keras file",
    ".keras": "a Keras file",
    ".safetensors": "weights without a graph",
    ".ort": "ONNX Runtime's own format",
    ".engine": "a TensorRT engine",
}


def capture(
    source: str | Path | ir.Model | onnx.ModelProto | torch.nn.Module | torch.export.ExportedProgram,
    *,
    inputs: Sequence[InputSpec] = (),
    keep_symbolic: bool = False,
) -> Captured:
    """Turns a source into a graph and keeps a way to run the source itself.

    Args:
        source: an ONNX file or model, a `.pt2` file, `file.py:callable`, or a module or exported program of torch.
            What a callable may return: a module, a module with a tuple of example inputs, an exported program, an
            ONNX model, or the path of a model file.
        inputs: dtype and shape of inputs. Required for a module without example inputs; elsewhere they fix
            symbolic dimensions.
        keep_symbolic: leave dimensions open that `inputs` does not fix.

    Raises:
        UsageError: there is no such file, or `inputs` contradict the source.
        ModelError: the source cannot be read, run or captured.
        ToolchainError: the source needs torch, which is not installed.
    """
    if isinstance(source, str) and is_entry(source):
        with built_by(source) as built:
            return _capture_built(built, source, tuple(inputs), keep_symbolic)
    if isinstance(source, str | Path):
        return _capture_file(Path(source), tuple(inputs), keep_symbolic)
    called = source[0] if isinstance(source, tuple) and source else source
    captured = _capture_object(source, type(called).__name__, tuple(inputs), keep_symbolic)
    if captured is None:
        raise UsageError(
            f"cannot capture a {type(source).__name__}; give a path, file.py:callable, nn.Module or ExportedProgram"
        )
    return captured


def _capture_file(path: Path, inputs: Sequence[InputSpec], keep_symbolic: bool) -> Captured:
    suffix = path.suffix.lower()
    if not path.exists():
        raise UsageError(f"no such file: {path}")
    if suffix == ".py":
        raise UsageError(f"{path} is Python; name the function that builds the model, as in {path}:build")
    if suffix in _FOREIGN:
        raise ModelError(f"{path} is {_FOREIGN[suffix]}, not a source; give the ONNX file or torch module it came from")
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a model; give the model file in it")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    if head and suffix != ".onnx" and (is_torch_file(head) or suffix in (".pt2", ".pt", ".pth", ".ckpt")):
        captured = _capture_object(load_program(path), path.stem, inputs, keep_symbolic)
        assert captured is not None  # load_program gives an ExportedProgram
        return captured
    return capture_onnx_file(path, inputs, keep_symbolic)


def _capture_built(built: Any, entry: str, inputs: Sequence[InputSpec], keep_symbolic: bool) -> Captured:
    name = entry.rpartition(":")[2]
    if isinstance(built, str | Path):
        return _capture_file(Path(built), inputs, keep_symbolic)
    captured = _capture_object(built, name, inputs, keep_symbolic)
    if captured is None:
        raise ModelError(
            f"{entry} returned a {type(built).__name__}; return an nn.Module, (module, example inputs), an "
            "ExportedProgram, an ONNX model or a path"
        )
    return captured


def _capture_object(built: Any, name: str, inputs: Sequence[InputSpec], keep_symbolic: bool) -> Captured | None:
    """Captures a model object, None if it is none that edgeport knows."""
    if isinstance(built, ir.Model):
        built = ir.to_proto(built)
    if isinstance(built, onnx.ModelProto):
        return capture_onnx_message(built, name, inputs, keep_symbolic)
    torch = sys.modules.get("torch")  # an object of torch's exists only where torch was imported
    if torch is None:
        return None
    from edgeport.capture.torch_module import Example, capture_module
    from edgeport.capture.torch_program import capture_program

    if isinstance(built, torch.export.ExportedProgram):
        return capture_program(built, name, inputs, keep_symbolic)
    if isinstance(built, torch.nn.Module):
        return capture_module(built, name, inputs, keep_symbolic)
    if isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], torch.nn.Module):
        given = built[1]
        if isinstance(given, Mapping):
            return capture_module(built[0], name, inputs, keep_symbolic, Example(kwargs=dict(given)))
        args = tuple(given) if isinstance(given, tuple | list) else (given,)
        return capture_module(built[0], name, inputs, keep_symbolic, Example(args))
    return None
