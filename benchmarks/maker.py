"""edgeport's float file beside the one that the model's maker published: basic-pitch, as ONNX and as TFLite.

    python benchmarks/maker.py [ROUNDS]

Needs the bench folder (see accuracy.py), which holds basic_pitch/nmp.onnx and nmp.tflite.
"""

from __future__ import annotations

import sys

import numpy as np
from accuracy import bench_folder
from exports import edgeport_file
from tables import Line
from tflite_file import Floats, Sample
from turns import measure, ratio, show

ROUNDS = 60
_SECONDS, _RATE = 43844 / 22050, 22050


def _note() -> Sample:
    """Two seconds of two tones with noise, float32 (1, 43844, 1)."""
    time = np.arange(round(_SECONDS * _RATE)) / _RATE
    noise = np.random.default_rng(0).normal(scale=0.01, size=time.size)
    wave = 0.4 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 660 * time) + noise
    return {"serving_default_input_2:0": wave.astype(np.float32)[None, :, None]}


def report(rounds: int = ROUNDS) -> list[Line]:
    """Prints the table of the two files and returns the summary's lines."""
    import onnxruntime as ort

    folder = bench_folder()
    if folder is None:
        print("skipped basic_pitch: no bench folder")
        return []
    source = folder / "basic_pitch" / "nmp.onnx"
    sample = _note()
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    found = {"edgeport f32": edgeport_file(source, "fp32", None), "its maker's": source.with_suffix(".tflite")}
    outputs: list[Floats] = [np.ravel(y) for y in session.run(None, dict(sample))]
    reference = np.concatenate(outputs)[None]
    rows = measure(found, [sample], reference, np.ones((), np.float32), rounds)
    ours, theirs = rows
    print(f"\nbasic_pitch in LiteRT, one thread, median of {rounds} rounds in turns")
    print(show(rows, theirs))
    apart = float(np.abs(ours.outputs - theirs.outputs).max())
    return [
        Line("basic_pitch: largest difference to its maker's file", "<= 1e-4", f"{apart:.1e}"),
        Line("basic_pitch: float latency / its maker's file", "<= 1.05", f"{ratio(ours, theirs):.3f}"),
    ]


if __name__ == "__main__":
    for line in report(*map(int, sys.argv[1:])):
        print(f"{line.what}: {line.figure} (target {line.target})")
