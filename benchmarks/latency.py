"""Latency, drift and size of edgeport's TFLite files beside the peers', for one MobileNetV2 and the same images.

    python benchmarks/latency.py [ROUNDS]

The peers' files take images channels last; so do ours here (`--input-layout nhwc`), beside one that keeps the source's
order. Files with integers at their ends (`--io-dtype int8`) and with floats are compared each with their like.
See turns.py for how time is taken.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from exports import edgeport_file
from models import INPUT, SPECS, held_out, onnx_model, samples, torch_weights
from peers import VERSIONS, Made, Skipped, litert_quantized, litert_torch_float, onnx2tf_float, onnx2tf_int8
from tables import Line
from tflite_file import Floats, Sample
from turns import Row, fastest, measure, ratio, show

MODEL = "mobilenetv2"
ROUNDS = 100
_CALIBRATION, _HELD_OUT = 64, 128
OURS_FLOAT, OURS_INT8, OURS_FLOAT_IO = "edgeport f32", "edgeport int8", "edgeport int8, float I/O"
OURS_NCHW = "edgeport int8, float I/O, NCHW as in the source"
_NHWC = ("--input-layout", "nhwc")


def files() -> dict[str, Made]:
    """Every file that can be made here, ours and theirs, from the same model and calibration images."""
    spec, source = SPECS[MODEL], onnx_model(MODEL)
    calibration = samples(_CALIBRATION, spec.size)
    found: dict[str, Made] = {
        OURS_FLOAT: edgeport_file(source, "fp32", None, *_NHWC),
        OURS_INT8: edgeport_file(source, "int8", calibration, *_NHWC, "--io-dtype", "int8"),
        OURS_FLOAT_IO: edgeport_file(source, "int8", calibration, *_NHWC),
        OURS_NCHW: edgeport_file(source, "int8", calibration),
        "onnx2tf f32": onnx2tf_float(source),
        "litert-torch f32": litert_torch_float(torch_weights(MODEL), spec.network, str(spec.classes), str(spec.size)),
    }
    found.update(onnx2tf_int8(source, calibration))
    for label in (OURS_FLOAT, "onnx2tf f32", "litert-torch f32"):
        made = found[label]
        quantized = made if isinstance(made, Skipped) else litert_quantized(made, calibration)
        found[f"{label} + litert-quantizer int8"] = quantized
    return found


def _reference() -> tuple[list[Sample], Floats]:
    """Held-out images, and what ONNX Runtime's float says of them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx_model(MODEL), options, providers=["CPUExecutionProvider"])
    images, _ = held_out(_HELD_OUT, SPECS[MODEL].size)
    held: list[Sample] = [{INPUT: image[None]} for image in images]
    return held, np.stack([session.run(None, dict(sample))[0][0] for sample in held])


def report(rounds: int = ROUNDS) -> list[Line]:
    """Prints the table of files and returns the summary's lines."""
    found = files()
    held, reference = _reference()
    made = {label: path for label, path in found.items() if isinstance(path, Path)}
    rows = measure(made, held, reference, np.ones((), np.float32), rounds)
    by_label = {row.label: row for row in rows}
    ours, ours_float, float_io = by_label[OURS_INT8], by_label[OURS_FLOAT], by_label[OURS_FLOAT_IO]
    agreement = [f"{(row.outputs.argmax(1) == reference.argmax(1)).mean():.3f}" for row in rows]
    print(f"\n{MODEL} in LiteRT, one thread, median of {rounds} rounds in turns; drift on {_HELD_OUT} held-out images")
    print(f"peers: {VERSIONS}")
    print(show(rows, ours, {"top-1 agrees": agreement}))
    for label, path in found.items():
        if isinstance(path, Skipped):
            print(f"skipped {label}: {path.reason}")
    lines = [
        Line("CNN: TRANSPOSE in the int8 file", "0", str(ours.transposes)),
        Line("CNN: int8 speed over our float", ">= 2", f"{ratio(ours_float, ours):.2f}"),
        Line("CNN: int8 SQNR, dB", ">= 30", f"{ours.sqnr:.1f}"),
    ]
    peers = [row for row in rows if not row.label.startswith("edgeport") or "litert-quantizer" in row.label]
    int8 = [row for row in peers if "int8" in row.label]
    lines += beside("CNN: int8 latency", "<= 1.0", ours, int8)
    lines += beside("CNN: int8 latency, float I/O", "<= 1.0", float_io, [row for row in int8 if row.float_input])
    lines += beside("CNN: float latency", "<= 1.02", ours_float, [row for row in peers if row.label.endswith("f32")])
    best = max(int8, key=lambda row: row.sqnr, default=None)
    if best is not None:
        lines.append(Line(f"CNN: int8 SQNR of the best peer, dB ({best.label})", "", f"{best.sqnr:.1f}"))
    return lines


def beside(what: str, target: str, ours: Row, theirs: Sequence[Row]) -> list[Line]:
    """Our latency over that of the fastest of theirs."""
    best = fastest(theirs)
    if best is None:
        return [Line(f"{what} / best peer's", target, "no peer's file could be made")]
    return [Line(f"{what} / best peer's ({best.label})", target, f"{ratio(ours, best):.3f}")]


if __name__ == "__main__":
    for line in report(*map(int, sys.argv[1:])):
        print(f"{line.what}: {line.figure} (target {line.target or 'none'})")
