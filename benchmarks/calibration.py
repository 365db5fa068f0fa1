"""What calibration costs beside bare float inference, and whether its memory grows with the number of samples.

    python benchmarks/calibration.py [--samples 64] [--rounds 5]

The model is MobileNetV2 (M. Sandler et al. 2018, table 2; width 1.0, 224 x 224, BN folded) with random weights; the
images have the 1/f spectrum of photographs. Every kernel's output is observed with a histogram. Time is the minimum
over rounds that alternate between both, one thread, session creation and file reading included on both sides. Memory is
the peak of separate processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgeport.calibration import collect, open_samples
from edgeport.sample import Array, InputSpec

INPUT = InputSpec("image", "float32", (1, 3, 224, 224))
_BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class _Network:
    """Appends layers to a graph; keeps the names of the values that a device would hold."""

    def __init__(self) -> None:
        shape = ir.Shape(INPUT.shape)
        self.input = ir.Value(name=INPUT.name, type=ir.TensorType(ir.DataType.FLOAT), shape=shape)
        self.graph = ir.Graph([self.input], [], nodes=[], opset_imports={"": 17}, name="mobilenet_v2")
        self.observed: list[str] = []
        self._random = np.random.default_rng(0)
        self._limits = [self._constant(np.array(v, np.float32)) for v in (0.0, 6.0)]

    def _constant(self, array: Array) -> ir.Value:
        value = ir.Value(name=f"c{len(self.graph.initializers)}", const_value=ir.tensor(array))
        self.graph.register_initializer(value)
        return value

    def _append(self, op: str, inputs: list[ir.Value], **attributes: object) -> ir.Value:
        node = ir.node(op, inputs, attributes=attributes, name=f"{op}_{len(self.graph)}")  # type: ignore[arg-type]
        node.outputs[0].name = f"v{len(self.graph)}"
        node.outputs[0].dtype = ir.DataType.FLOAT
        self.graph.append(node)
        return node.outputs[0]

    def conv(
        self, x: ir.Value, channels: tuple[int, int], kernel: int, stride: int, group: int, relu6: bool
    ) -> ir.Value:
        fan_in = channels[0] // group * kernel**2
        weight = self._random.normal(0, (2 / fan_in) ** 0.5, (channels[1], channels[0] // group, kernel, kernel))
        bias = self._random.normal(0, 0.1, channels[1])
        constants = [self._constant(a.astype(np.float32)) for a in (weight, bias)]
        pads, strides = [kernel // 2] * 4, [stride] * 2
        y = self._append("Conv", [x, *constants], group=group, pads=pads, strides=strides, kernel_shape=[kernel] * 2)
        return self._keep(self._append("Clip", [y, *self._limits]) if relu6 else y)

    def add(self, a: ir.Value, b: ir.Value) -> ir.Value:
        return self._keep(self._append("Add", [a, b]))

    def head(self, x: ir.Value) -> None:
        pooled = self._append("Flatten", [self._keep(self._append("GlobalAveragePool", [x]))])
        weight = self._constant(self._random.normal(0, 0.03, (1280, 1000)).astype(np.float32))
        self.graph.outputs.append(self._keep(self._append("MatMul", [pooled, weight])))

    def _keep(self, value: ir.Value) -> ir.Value:
        self.observed.append(str(value.name))
        return value


def mobilenet_v2() -> tuple[ir.Model, list[str]]:
    """The model, and the values to observe: every kernel's output, after its activation."""
    net = _Network()
    x, width = net.conv(net.input, (3, 32), 3, 2, 1, True), 32
    for expansion, channels, repeats, first_stride in _BLOCKS:
        for i in range(repeats):
            stride, hidden, y = (first_stride if i == 0 else 1), width * expansion, x
            if expansion > 1:
                y = net.conv(y, (width, hidden), 1, 1, 1, True)
            y = net.conv(y, (hidden, hidden), 3, stride, hidden, True)
            y = net.conv(y, (hidden, channels), 1, 1, 1, False)
            x, width = (net.add(x, y) if stride == 1 and width == channels else y), channels
    net.head(net.conv(x, (320, 1280), 1, 1, 1, True))
    return ir.Model(net.graph, ir_version=10), net.observed


def write_images(folder: Path, count: int) -> None:
    """Normalized images with an amplitude spectrum of 1/f, one .npz each."""
    random = np.random.default_rng(1)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.rfftfreq(224)[None])
    frequency[0, 0] = 1 / 224
    for i in range(count):
        spectrum = np.fft.rfft2(random.normal(size=(3, 224, 224))) / frequency
        image = np.fft.irfft2(spectrum, s=(224, 224))
        image = (image - image.mean()) / image.std()
        np.savez(folder / f"{i:04}.npz", image=image.astype(np.float32)[None])


def _bare(model: ir.Model, files: list[Path]) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    for file in files:
        with np.load(file) as arrays:
            session.run(None, {INPUT.name: arrays[INPUT.name]})


def _calibrate(model: ir.Model, observed: list[str], folder: Path) -> None:
    collect(model, open_samples(folder, [INPUT]), dict.fromkeys(observed, "histogram"))


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _peak_megabytes(folder: Path) -> float:
    """Peak resident memory of a fresh process that calibrates on the folder."""
    command = [sys.executable, __file__, "--peak-of", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64, help="samples for the time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model, observed = mobilenet_v2()
    if arguments.peak_of is not None:
        _calibrate(model, observed, arguments.peak_of)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as name:
        folders = {count: Path(name) / str(count) for count in (16, 512, arguments.samples)}
        for count, folder in folders.items():
            folder.mkdir(exist_ok=True)
            write_images(folder, count)
        timed = folders[arguments.samples]
        files = sorted(timed.iterdir())
        bare, calibration = [], []
        for _ in range(arguments.rounds):
            bare.append(_seconds(lambda: _bare(model, files)))
            calibration.append(_seconds(lambda: _calibrate(model, observed, timed)))
        peaks = {count: _peak_megabytes(folders[count]) for count in (16, 512)}
    result = {
        "model": "MobileNetV2 1.0, 224x224, random weights",
        "observed_tensors": len(observed),
        "samples": arguments.samples,
        "bare_inference_seconds": round(min(bare), 3),
        "calibration_seconds": round(min(calibration), 3),
        "ratio": round(min(calibration) / min(bare), 2),
        "ratio_target": 3,
        "peak_mb_16_samples": round(peaks[16], 1),
        "peak_mb_512_samples": round(peaks[512], 1),
        "growth_mb": round(peaks[512] - peaks[16], 1),
        "growth_mb_target": 64,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
