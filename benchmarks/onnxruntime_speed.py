"""Latency, drift and size of edgeport's files for ONNX Runtime beside the source and ONNX Runtime's own quantizer.

    python benchmarks/onnxruntime_speed.py [MODEL ...] [ROUNDS]

Models: mobilenetv2, resnet, efficientnet and vit of models.py, and `encoder`. ONNX Runtime with the options of an app,
one thread. Files take turns in random order in every round and the least time of each counts, as the machine is shared.
Its own quantizer: `quant_pre_process`, then `quantize_static` with uint8 activations and int8 weights per channel.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from encoder import calibration
from encoder import onnx_model as encoder_model
from exports import export_command, seconds
from models import CACHE, INPUT, SPECS, held_out, onnx_model, samples
from tables import Line, table
from texts import samples as texts

from edgeport.sample import Array, Sample

ROUNDS = 80
ENCODER = "encoder"
_CALIBRATION, _HELD_OUT, _SEED = 64, 64, 77
_TARGET = "onnxruntime"
_SOURCE, _OWN = "source", "edgeport "


@dataclass(frozen=True)
class Subject:
    """A model with its calibration folder, held-out samples, and where its outputs count (1, or 0 for padding)."""

    source: Path
    calibration: Path
    held_out: Sequence[Sample]
    counted: Callable[[Sample], Array]


@dataclass(frozen=True)
class Row:
    """One file: least milliseconds, SQNR in dB against the float source, bytes."""

    label: str
    milliseconds: float
    sqnr: float
    size: int


def subject(name: str) -> Subject:
    if name == ENCODER:
        held = texts(_HELD_OUT, _SEED, held_out=True)
        return Subject(encoder_model(), calibration(48), held, lambda s: np.asarray(s["mask"], np.float32)[..., None])
    spec = SPECS[name]
    images, _ = held_out(_HELD_OUT, spec.size)
    folder = samples(_CALIBRATION, spec.size)
    return Subject(onnx_model(name), folder, [{INPUT: image[None]} for image in images], lambda s: np.ones(()))


def files(one: Subject, precisions: Sequence[str], folder: Path, peers: bool = True) -> dict[str, Path]:
    """Every file, ours by the command line, and the seconds that each export took on stdout."""
    found = {_SOURCE: one.source}
    for precision in precisions:
        data = one.calibration if precision == "int8" else None
        out = folder / precision
        took = seconds(export_command(one.source, precision, data, out, target=_TARGET))
        print(f"exported {precision} in {took:.1f} s")
        (found[f"{_OWN}{precision}"],) = (out / _TARGET).glob("*.onnx")
    if peers:
        found |= _peers(one, folder)
    return found


def _peers(one: Subject, folder: Path) -> dict[str, Path]:
    import onnxruntime.quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(one.source), str(prepared), skip_symbolic_shape=True)
    arrays = [dict(np.load(path)) for path in sorted(one.calibration.glob("*.npz"))]

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(arrays)

        def get_next(self) -> dict[str, Array] | None:
            return next(self._left, None)

    found = {}
    plans: tuple[tuple[str, q.CalibrationMethod, list[str] | None], ...] = (
        ("MinMax", q.CalibrationMethod.MinMax, None),
        ("Percentile", q.CalibrationMethod.Percentile, None),
        ("MinMax, products only", q.CalibrationMethod.MinMax, ["Conv", "MatMul", "Gemm"]),
    )
    for label, method, ops in plans:
        path = folder / f"{label}.onnx"
        q.quantize_static(
            str(prepared),
            str(path),
            Reader(),
            per_channel=True,
            calibrate_method=method,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=ops,
        )
        found[f"quantize_static {label}"] = path
    return found


def opened(path: Path) -> ort.InferenceSession:
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def measure(found: Mapping[str, Path], one: Subject, rounds: int) -> list[Row]:
    """Runs every file on the held-out samples, then times them in turns on the first."""
    sessions = {label: opened(path) for label, path in found.items()}
    outputs = {
        label: [session.run(None, dict(sample))[0] for sample in one.held_out] for label, session in sessions.items()
    }
    best = dict.fromkeys(found, np.inf)
    order, feed = np.random.default_rng(0), dict(one.held_out[0])
    labels = list(found)
    for _ in range(rounds):
        for label in order.permutation(labels):
            sessions[label].run(None, feed)
            start = time.perf_counter()
            sessions[label].run(None, feed)
            best[label] = min(best[label], time.perf_counter() - start)
    return [
        Row(label, best[label] * 1e3, _sqnr(one, outputs[_SOURCE], outputs[label]), path.stat().st_size)
        for label, path in found.items()
    ]


def _sqnr(one: Subject, wanted: Sequence[Array], got: Sequence[Array]) -> float:
    signal = noise = 0.0
    for sample, a, b in zip(one.held_out, wanted, got, strict=True):
        counts = one.counted(sample)
        signal += float(np.square(a.astype(np.float64) * counts).sum())
        noise += float(np.square((a.astype(np.float64) - b) * counts).sum())
    return float("inf") if noise == 0 else 10 * float(np.log10(signal / noise))


def report(names: Sequence[str] = ("mobilenetv2", ENCODER), rounds: int = ROUNDS) -> list[Line]:
    """Prints a table for each model and returns the summary's lines."""
    lines = []
    for name in names:
        one = subject(name)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            found = files(one, ("fp32", "int8", "int8-dynamic", "int4-weights"), Path(folder))
            rows = {row.label: row for row in measure(found, one, rounds)}
        ours, floats = rows[f"{_OWN}int8"], rows[f"{_OWN}fp32"]
        print(f"\n{name} in ONNX Runtime {ort.__version__}, one thread, least of {rounds} rounds in turns")
        print(
            table(
                ("file", "ms", "times float", "SQNR dB", "kB"),
                [
                    (r.label, f"{r.milliseconds:.2f}", f"{floats.milliseconds / r.milliseconds:.2f}", f"{r.sqnr:.1f}",
                     f"{r.size / 1000:.0f}")
                    for r in rows.values()
                ],
            )
        )  # fmt: skip
        best = max(row.sqnr for label, row in rows.items() if label.startswith("quantize_static"))
        speed = floats.milliseconds / ours.milliseconds
        lines.append(Line(f"onnxruntime {name}: int8 speed over float", ">= 1.9 / 1.5", f"{speed:.2f}"))
        lines.append(Line(f"onnxruntime {name}: int8 SQNR, dB, less the best quantize_static", ">= 0",
                          f"{ours.sqnr - best:+.1f}"))  # fmt: skip
    return lines


if __name__ == "__main__":
    counts = [int(word) for word in sys.argv[1:] if word.isdigit()]
    chosen = [word for word in sys.argv[1:] if not word.isdigit()]
    for line in report(chosen or ("mobilenetv2", ENCODER), *counts):
        print(f"{line.what}: {line.figure} (target {line.target})")
