"""The files that `check_arm.py` exports where it is given none, of a CNN and a small transformer encoder.

The CNN is that of examples/fashion_mnist, the encoder is made here (arm_encoder.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from arm_encoder import encoder, texts
from arm_files import Emitted, write_file
from arm_golden import copy_reported, golden_inputs
from arm_grid import on_grid
from arm_runtimes import Runtime

from edgeport import api
from edgeport.config import load_config
from edgeport.datasets import open_source
from edgeport.preparation import prepare

_EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
_INPUTS = 8


# Integers are the same everywhere. Float kernels sum in another order: float32 keeps 24 bits (144 dB), and a network
# loses some of them. Where float islands feed integers, a last bit may turn a rounding, which is 1 of 255 steps in few
# elements: seen are 50 dB and more. Dynamic int8 chooses its scales at run time from such floats.
# ONNX Runtime's MatMulNBits quantizes activations block by block with roundings of each CPU's own: seen are 37 dB and
# more, and the distance from float, 16.4 dB, is the same on all to 0.02 dB.
_FILES: dict[str, tuple[Emitted, ...]] = {
    "tflite": (
        Emitted("cnn_int8", None),
        Emitted("cnn_fp32", 100.0),
        Emitted("encoder_fp32", 100.0),
        Emitted("encoder_int8", 40.0),
        Emitted("encoder_int8-dynamic", 40.0),
    ),
    "onnxruntime": (
        Emitted("cnn_int8", None),
        Emitted("cnn_fp32", 100.0),
        Emitted("encoder_fp32", 100.0),
        Emitted("encoder_int8", 40.0),
        Emitted("encoder_int8-dynamic", 34.0),
        Emitted("encoder_int4-weights", 34.0),
    ),
    "executorch": (
        Emitted("cnn_int8", None),
        Emitted("cnn_fp32", 100.0),
        Emitted("encoder_fp32", 100.0),
        Emitted("encoder_int8", 40.0),
        Emitted("encoder_int8-dynamic", 34.0),
        Emitted("encoder_int4-weights", 34.0),
    ),
    "qnnpack": (
        Emitted("cnn_int8", None),
        Emitted("cnn_fp32", 100.0),
        Emitted("encoder_fp32", 100.0),
        Emitted("encoder_int8", 34.0),
        Emitted("encoder_int8-dynamic", 34.0),
    ),
}


def emit_files(runtime: Runtime, folder: Path, scratch: Path) -> list[Emitted]:
    """Exports the target's files into `folder`, with inputs in an .npz file beside each.

    Raises:
        EdgeportError: the target refuses one.
    """
    scratch.mkdir()
    source, samples = scratch / "encoder.onnx", scratch / "samples.npz"
    onnx.save(encoder(), source)
    np.savez(samples, **texts(24))
    example = load_config(_EXAMPLE / "edgeport.toml")
    prepared = prepare(example.source)
    images = list(open_source(prepared, example.data, example.preprocessing, None).read(0, _INPUTS))
    words = [{name: array[i : i + 1] for name, array in texts(_INPUTS).items()} for i in range(_INPUTS)]
    emitted = list(_FILES[runtime.target])
    for file in _FILES[runtime.target]:
        model, precision = file.name.split("_")
        out = scratch / file.name
        if model == "cnn":
            result = api.export(
                example.source, target=runtime.target, precision=precision, calib=example.calib, data=example.data,
                preprocessing=example.preprocessing, out=out,
            )  # fmt: skip
        else:
            result = api.export(
                source, target=runtime.target, precision=precision, calib=samples, out=out, allow_suspicious_data=True
            )
        artifact, taken = result.artifacts[runtime.target], images if model == "cnn" else words
        if runtime.target == "qnnpack":
            taken = [on_grid(artifact, sample) for sample in taken]
            given = golden_inputs(artifact, runtime)
            emitted += copy_reported(artifact, file.name, given, file.least_db, folder)
        write_file(artifact, file.name, taken, folder)
    return emitted
