""".ort files in Fixed style: the graph as ONNX Runtime has optimized it, for builds that read nothing else.

Reference: onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html. Such a file is loaded without
further rewriting, so that it must hold nothing that only one processor has.
"""

from __future__ import annotations

from pathlib import Path

from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding
from edgeport.onnx_session import open_session, session_options
from edgeport.targets.onnxruntime.device import Device
from edgeport.targets.onnxruntime.ort_bytes import in_order
from edgeport.validate.onnx_runner import one_line

SCHEME = "ort"
SUFFIX = ".ort"
_RESTORED = ("fp16", "int8-weights")
_OF_X86 = ("NchwcTransformer",)
"""Rewritings for kernels that ONNX Runtime has on x86 only."""


def check_precision(precision: str) -> None:
    """Refuses precisions that such a file does not keep.

    Raises:
        UsageError: says why.
    """
    if precision in _RESTORED:
        raise UsageError(
            f"--scheme {SCHEME}: --precision {precision} stores weights that ONNX Runtime restores while it makes a "
            f"{SUFFIX} file, which is then as large as that of fp32; leave --scheme out, or choose int8"
        )


def convert(source: Path, device: Device) -> Path:
    """Writes the .ort file beside an .onnx file and loads it once.

    Args:
        source: the .onnx file.
        device: says for which processor.

    Raises:
        ModelError: ONNX Runtime does not make or load it.
    """
    path = source.with_suffix(SUFFIX)
    options = session_options()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    left_out = () if device.platform == "amd64" else _OF_X86
    try:
        open_session(str(source), options, stock=True, without=left_out)
        path.write_bytes(in_order(path.read_bytes()))
        open_session(str(path), session_options(), stock=True)
    except Exception as error:  # ONNX Runtime's exceptions share no public root
        message = one_line(error)
        raise ModelError(
            f"target onnxruntime: ONNX Runtime makes no {SUFFIX} file of the model: {message}",
            [Finding("error", "onnxruntime-load", message)],
        ) from error
    return path
