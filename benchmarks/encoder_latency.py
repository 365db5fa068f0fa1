"""Latency, drift and size of edgeport's TFLite files beside the peers', for a BERT-mini and the same text.

    python benchmarks/encoder_latency.py [ROUNDS]

Padded positions do not count in the drift. See turns.py for how time is taken.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from encoder import calibration, onnx_model, weights
from exports import edgeport_file
from latency import beside
from peers import VERSIONS, Made, Skipped, litert_quantized, litert_torch_float, onnx2tf_float
from tables import Line
from texts import samples
from turns import measure, ratio, show

ROUNDS = 60
_CALIBRATION, _HELD_OUT, _SEED = 48, 32, 77
OURS_FLOAT, OURS_INT8 = "edgeport f32", "edgeport int8"


def files() -> dict[str, Made]:
    """Every file that can be made here, ours and theirs, from the same weights and calibration text."""
    source, text = onnx_model(), calibration(_CALIBRATION)
    found: dict[str, Made] = {
        OURS_FLOAT: edgeport_file(source, "fp32", None),
        OURS_INT8: edgeport_file(source, "int8", text),
        "edgeport int8-dynamic": edgeport_file(source, "int8-dynamic", None),
        "onnx2tf f32": onnx2tf_float(source),
        "litert-torch f32": litert_torch_float(weights(), "encoder"),
    }
    made = found["litert-torch f32"]
    for kind, data in (("int8, everything", text), ("int8-dynamic", None)):
        quantized = made if isinstance(made, Skipped) else litert_quantized(made, data)
        found[f"litert-torch f32 + litert-quantizer {kind}"] = quantized
    return found


def report(rounds: int = ROUNDS) -> list[Line]:
    """Prints the table of files and returns the summary's lines."""
    import onnxruntime as ort

    found = files()
    held = samples(_HELD_OUT, _SEED, held_out=True)
    session = ort.InferenceSession(onnx_model(), providers=["CPUExecutionProvider"])
    hidden = np.stack([session.run(None, dict(sample))[0][0] for sample in held])
    counted = np.stack([sample["mask"][0] for sample in held]).astype(np.float32)
    counted = np.repeat(counted, hidden.shape[-1], axis=1)
    made = {label: path for label, path in found.items() if isinstance(path, Path)}
    rows = measure(made, held, hidden.reshape(len(held), -1), counted, rounds)
    by_label = {row.label: row for row in rows}
    ours, ours_float = by_label[OURS_INT8], by_label[OURS_FLOAT]
    print(f"\nBERT-mini in LiteRT, one thread, median of {rounds} rounds in turns; drift on {_HELD_OUT} held-out texts")
    print(f"peers: {VERSIONS}")
    print(show(rows, ours_float))
    for label, path in found.items():
        if isinstance(path, Skipped):
            print(f"skipped {label}: {path.reason}")
    peers = [row for row in rows if not row.label.startswith("edgeport")]
    return [
        Line("encoder: int8 speed over our float", ">= 2.5", f"{ratio(ours_float, ours):.2f}"),
        Line("encoder: int8 SQNR, dB", ">= 35", f"{ours.sqnr:.1f}"),
        *beside("encoder: float latency", "<= 1.02", ours_float, [row for row in peers if row.label.endswith("f32")]),
        *beside("encoder: int8 latency", "", ours, [row for row in peers if "int8" in row.label]),
    ]


if __name__ == "__main__":
    for line in report(*map(int, sys.argv[1:])):
        print(f"{line.what}: {line.figure} (target {line.target or 'none'})")
