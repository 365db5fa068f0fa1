"""Latency, drift and size of edgeport's TFLite files beside the peers', for one MobileNetV2 and the same images.

    python benchmarks/latency.py [ROUNDS]

The peers' files take images channels last; so do ours here (`--input-layout nhwc`), beside one that keeps the source's
order. LiteRT with XNNPACK, one thread. Files take turns in random order in every round, and ratios are taken from
rounds, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from exports import edgeport_file
from images import Floats
from models import INPUT, SPECS, held_out, onnx_model, samples
from peers import Made, Skipped, litert_quantized, onnx2tf_files
from tables import Line, table
from tflite_file import TfliteFile, sqnr

MODEL = "mobilenetv2"
ROUNDS = 100
_CALIBRATION, _HELD_OUT = 64, 128
OURS_FLOAT, OURS_INT8, OURS_NCHW = "edgeport f32", "edgeport int8", "edgeport int8, NCHW as in the source"


@dataclass(frozen=True)
class Row:
    """One file's figures: median milliseconds, drift against ONNX Runtime's float, and what it holds."""

    label: str
    seconds: tuple[float, ...]
    sqnr: float
    agreement: float
    operators: int
    transposes: int
    float_input: bool
    size: int

    @property
    def milliseconds(self) -> float:
        return float(np.median(self.seconds)) * 1e3


def files() -> dict[str, Made]:
    """Every file that can be made here, ours and theirs, from the same ONNX file and calibration images."""
    calibration = samples(_CALIBRATION, SPECS[MODEL].size)
    found: dict[str, Made] = {
        OURS_FLOAT: edgeport_file(onnx_model(MODEL), "fp32", None, "nhwc"),
        OURS_INT8: edgeport_file(onnx_model(MODEL), "int8", calibration, "nhwc"),
        OURS_NCHW: edgeport_file(onnx_model(MODEL), "int8", calibration),
    }
    found.update(onnx2tf_files(MODEL, calibration))
    for source in (OURS_FLOAT, "onnx2tf f32"):
        made = found[source]
        label = f"{source} + litert-quantizer int8"
        found[label] = made if isinstance(made, Skipped) else litert_quantized(made, calibration)
    return found


def measure(found: dict[str, Path], rounds: int) -> list[Row]:
    """Runs every file on the held-out images, then times them in turns."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(onnx_model(MODEL), options, providers=["CPUExecutionProvider"])
    images, _ = held_out(_HELD_OUT, SPECS[MODEL].size)
    reference = np.stack([session.run(None, {INPUT: image[None]})[0][0] for image in images])
    opened = {label: TfliteFile(path) for label, path in found.items()}
    drifts = {label: _drift(file, images, reference) for label, file in opened.items()}
    times = take_turns(opened, images[:1], rounds)
    rows = []
    for label, file in opened.items():
        ops = file.operators()
        rows.append(
            Row(
                label,
                times[label],
                *drifts[label],
                sum(ops.values()),
                ops["TRANSPOSE"],
                file.float_input,
                file.path.stat().st_size,
            )
        )
    return rows


def take_turns(opened: dict[str, TfliteFile], image: Floats, rounds: int) -> dict[str, tuple[float, ...]]:
    """Seconds of each inference, one for every round; the order in a round is shuffled from a seed."""
    times: dict[str, list[float]] = {label: [] for label in opened}
    order = np.random.default_rng(0)
    labels = list(opened)
    for file in opened.values():
        file.prepare(image)
    for number in range(-5, rounds):  # the first five warm up
        for label in order.permutation(labels):
            opened[label].seconds()  # brings its weights back into the cache after the others' turns
            seconds = opened[label].seconds()
            if number >= 0:
                times[label].append(seconds)
    return {label: tuple(values) for label, values in times.items()}


def ratio(ours: Row, theirs: Row) -> float:
    """Median over the rounds of our time over theirs in the same round."""
    return float(np.median(np.array(ours.seconds) / np.array(theirs.seconds)))


def best_int8_peer(rows: list[Row], float_input: bool) -> Row | None:
    """The fastest int8 file that is not ours, of all of them or of those that take floats, as ours does."""
    peers = [row for row in rows if "int8" in row.label and row.label not in (OURS_INT8, OURS_NCHW)]
    peers = [row for row in peers if not float_input or row.float_input]
    return min(peers, key=lambda row: row.milliseconds, default=None)


def _drift(file: TfliteFile, images: Floats, reference: Floats) -> tuple[float, float]:
    measured = np.stack([file.run(image[None]) for image in images])
    return sqnr(reference, measured), float((measured.argmax(1) == reference.argmax(1)).mean())


def report(rounds: int = ROUNDS) -> list[Line]:
    """Prints the table of files and returns the summary's lines."""
    found = files()
    rows = measure({label: made for label, made in found.items() if isinstance(made, Path)}, rounds)
    ours = next(row for row in rows if row.label == OURS_INT8)
    print(f"\n{MODEL} in LiteRT, one thread, median of {rounds} rounds in turns; drift on {_HELD_OUT} held-out images")
    print(
        table(
            ("file", "ms", "ms / ours int8", "SQNR dB", "top-1 agrees", "ops", "TRANSPOSE", "MB"),
            [
                (
                    r.label,
                    f"{r.milliseconds:.2f}",
                    f"{ratio(r, ours):.3f}",
                    f"{r.sqnr:.1f}",
                    f"{r.agreement:.3f}",
                    str(r.operators),
                    str(r.transposes),
                    f"{r.size / 1e6:.2f}",
                )
                for r in rows
            ],
        )
    )
    for label, made in found.items():
        if isinstance(made, Skipped):
            print(f"skipped {label}: {made.reason}")
    lines = [Line("TRANSPOSE in the int8 file", "0", str(ours.transposes))]
    for float_input in (False, True):
        best = best_int8_peer(rows, float_input)
        what = "int8 latency / best peer's" + (", float input and output" if float_input else "")
        if best is None:
            lines.append(Line(what, "<= 1.03", "no peer's file could be made"))
            continue
        lines.append(Line(f"{what} ({best.label})", "<= 1.03", f"{ratio(ours, best):.3f}"))
    best_drift = max(
        (r for r in rows if "int8" in r.label and "edgeport int8" not in r.label), key=lambda r: r.sqnr, default=None
    )
    if best_drift is not None:
        label = f"int8 SQNR, dB, ours / best peer's ({best_drift.label})"
        lines.append(Line(label, "", f"{ours.sqnr:.1f} / {best_drift.sqnr:.1f}"))
    return lines


if __name__ == "__main__":
    report(*map(int, sys.argv[1:]))
