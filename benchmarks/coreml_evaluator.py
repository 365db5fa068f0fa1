"""How much longer the evaluator of Core ML packages takes than ONNX Runtime on the same networks, one thread each.

    python benchmarks/coreml_evaluator.py

Both networks have random weights: speed does not depend on them. The package is fp16; `declared` rounds every result.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from exports import export_command, seconds
from tables import Line, table

_TARGET = 20
_ROUNDS = 15
Feed = dict[str, np.ndarray]


def mobilenet_v2(path: Path) -> Feed:
    """MobileNetV2 1.0 at 224 x 224 as an ONNX file; returns an input for it."""
    import torch
    from networks import mobilenet_v2 as network

    _save(network(1000), (torch.zeros(1, 3, 224, 224),), ["image"], path)
    return {"image": np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)}


def bert_mini(path: Path) -> Feed:
    """BERT-mini (4 layers, width 256) at 128 tokens, likewise."""
    import torch
    from encoder import Encoder

    example = (torch.zeros(1, 128, dtype=torch.int64), torch.ones(1, 128, dtype=torch.int64))
    _save(Encoder(), example, ["ids", "mask"], path)
    return {"ids": np.arange(128, dtype=np.int64)[None] % 50, "mask": np.ones((1, 128), np.int64)}


def _save(network: Any, example: tuple[Any, ...], names: list[str], path: Path) -> None:
    import torch

    torch.manual_seed(0)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(), example, dynamo=True, opset_version=18, input_names=names, output_names=["y"], verbose=False
        )
    assert program is not None
    program.save(path)


def report() -> list[Line]:
    """Prints the table and returns the summary's lines. The measuring process has libraries of one thread."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, "measure"], env=os.environ | single, stdout=subprocess.PIPE, text=True, check=True
    )
    rows, lines = [], []
    for name, base, exact, rounded, drift in json.loads(done.stdout):
        rows.append((name, *(f"{1e3 * t:.1f}" for t in (base, exact, rounded)), f"{drift:.1e}"))
        ratios = f"{exact / base:.1f} / {rounded / base:.1f}"
        lines.append(Line(f"Core ML evaluator / ONNX Runtime, {name}: float32 / declared", f"<= {_TARGET}", ratios))
    print("\nevaluating an fp16 package: median milliseconds, one thread; and the float32 difference, relative")
    print(table(("network", "ONNX Runtime", "float32", "declared", "difference"), rows))
    return lines


def _measure(make: Callable[[Path], Feed], folder: Path) -> tuple[float, float, float, float]:
    import onnxruntime as ort

    from edgeport.targets.coreml.evaluator.run import Evaluator

    source = folder / f"{make.__name__}.onnx"
    feed = make(source)
    out = folder / make.__name__
    seconds(export_command(source, "fp16", None, out, target="coreml"))
    (package,) = (out / "coreml").glob("*.mlpackage")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    exact, rounded = Evaluator(package), Evaluator(package, arithmetic="declared")
    given = dict(zip(exact.inputs, feed.values(), strict=True))
    (want,), (got,) = session.run(None, feed), exact.run(given).outputs.values()
    drift = float(np.abs(got - want).max() / np.abs(want).max())
    runs = (lambda: session.run(None, feed), lambda: exact.run(given), lambda: rounded.run(given))
    times = [[_seconds(run) for run in runs] for _ in range(_ROUNDS)]
    base, plain, declared = (float(np.median(column)) for column in zip(*times, strict=True))
    return base, plain, declared, drift


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _measure_all() -> list[tuple[str, float, float, float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        return [(make.__name__, *_measure(make, Path(folder))) for make in (mobilenet_v2, bert_mini)]


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(_measure_all()))
    else:
        for line in report():
            print(f"{line.what}: {line.figure} (target {line.target})")
