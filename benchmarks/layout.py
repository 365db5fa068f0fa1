"""TRANSPOSE operators in float files of networks that leave the image layout and come back, beside onnx2tf's.

    python benchmarks/layout.py

edgeport's files are made with `--input-layout nhwc`, since onnx2tf's take images channels last as well. The figure
beside the count is the SQNR against ONNX Runtime on one random image: a count means nothing where the result is wrong.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from exports import edgeport_file
from layout_networks import NETWORKS
from models import CACHE, INPUT
from peers import Made, Skipped, onnx2tf_float
from tables import Line, table
from tflite_file import Sample, TfliteFile, sqnr


def onnx_file(name: str) -> Path:
    """One of the networks, seeded, as an ONNX file of opset 18."""
    source = Path(__file__).with_name("layout_networks.py").read_bytes()
    path = CACHE / "models" / hashlib.sha256(source).hexdigest()[:12] / f"{name}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        network = NETWORKS[name]().eval()
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, (torch.zeros(1, 3, 64, 64),), dynamo=True, opset_version=18, input_names=[INPUT], verbose=False
            )
        assert program is not None
        program.save(path)
    return path


def report() -> list[Line]:
    """Prints the table and returns the summary's lines."""
    import onnxruntime as ort

    sample: Sample = {INPUT: np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)}
    rows, lines = [], []
    for name in NETWORKS:
        source = onnx_file(name)
        reference = ort.InferenceSession(source, providers=["CPUExecutionProvider"]).run(None, dict(sample))[0]
        ours, theirs = edgeport_file(source, "fp32", None, "--input-layout", "nhwc"), onnx2tf_float(source)
        counts = [_count(made) for made in (ours, theirs)]
        rows.append((name, *counts[0], *counts[1], *(_drift(made, sample, reference) for made in (ours, theirs))))
        lines.append(Line(f"TRANSPOSE in {name}: edgeport / onnx2tf", "", f"{counts[0][0]} / {counts[1][0]}"))
    print("\nTRANSPOSE and all operators in float files; SQNR dB on one random image")
    head = ("network", "edgeport", "of", "onnx2tf", "of", "SQNR edgeport", "SQNR onnx2tf")
    print(table(head, rows))
    return lines


def _count(made: Made) -> tuple[str, str]:
    if isinstance(made, Skipped):
        return "-", "-"
    operators = TfliteFile(made).operators()
    return str(operators["TRANSPOSE"]), str(sum(operators.values()))


def _drift(made: Made, sample: Sample, reference: np.ndarray) -> str:
    """In dB; onnx2tf gives images, and what it takes for images, channels last: both orders are tried."""
    if isinstance(made, Skipped):
        return made.reason[:60]
    try:
        measured = TfliteFile(made).run(sample)
    except (RuntimeError, ValueError) as error:
        return f"does not run: {' '.join(str(error).split())}"[:60]
    orders = [reference.reshape(-1)]
    if reference.ndim > 2:
        orders.append(np.moveaxis(reference, 1, -1).reshape(-1))
    return f"{max(sqnr(order, measured) for order in orders):.1f}"


if __name__ == "__main__":
    report()
