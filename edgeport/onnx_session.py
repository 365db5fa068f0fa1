"""ONNX Runtime sessions as everything here wants them: the CPU, quiet, and without what is known to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime as ort

_WRONG_OPTIMIZERS = ["Pad_Fusion", "ClipQuantRewrite", "ReluQuantRewrite"]
"""The first moves zeros into a MaxPool, which pads with minus infinity (ONNX Runtime 1.31.1, docs/decisions/0005). The
others drop what a QuantizeLinear clips anyway: of 8-bit floats, the second fails, and the third drops a Relu although
they are signed."""


def session_options(threads: int = 1) -> ort.SessionOptions:
    """Options with that many threads inside one operator; operators run one after the other."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)  # what is wrong comes as an exception; the log would repeat it on stderr
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return options


def open_session(
    model: str | bytes, options: ort.SessionOptions, *, stock: bool = False, without: Sequence[str] = ()
) -> ort.InferenceSession:
    """Opens a file or a serialized model; whatever ONNX Runtime raises passes through, its exceptions share no root.

    Args:
        model: path of a file, or a serialized model.
        options: of the session.
        stock: with every rewriting that an app gets, those known to be wrong included.
        without: further rewritings to leave out, by ONNX Runtime's names.
    """
    import onnxruntime as ort

    # Without fallback: it would print to stdout and try the same provider again.
    return ort.InferenceSession(
        model,
        options,
        providers=["CPUExecutionProvider"],
        enable_fallback=0,
        disabled_optimizers=[*without] if stock else [*_WRONG_OPTIMIZERS, *without],
    )
