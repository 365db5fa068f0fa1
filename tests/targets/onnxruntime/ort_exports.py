"""Exports for the tests of this target, and what stands in the files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from edgeport import api

TARGET = "onnxruntime"


def export(source: Path, out: Path, precision: str = "int8", **arguments: Any) -> tuple[Path, dict[str, Any]]:
    """The file, and what the report says of the target."""
    result = api.export(
        str(source), target=TARGET, precision=precision, out=out, allow_suspicious_data=True, cache=False, **arguments
    )
    (entry,) = result.report["targets"]
    return Path(result.artifacts[TARGET]), entry


def session(path: Path, *, optimize: bool = True) -> ort.InferenceSession:
    """As an app opens it, or as it is written."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def constants(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def save_model(path: Path, text: str, arrays: dict[str, np.ndarray]) -> Path:
    """A model in ONNX's text form with its constants."""
    model = onnx.parser.parse_model(text)
    for name, array in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return path


def encoder(path: Path, rows: int = 16, width: int = 32, large_bias: float = 0.0) -> Path:
    """Two products with biases between LayerNormalizations, an addition around them, attention under a mask of -3.4e38.

    Takes x, float32 (1, rows, width), and mask, int64 (1, rows).
    """
    rng = np.random.default_rng(0)
    text = f"""<ir_version: 9, opset_import: ["" : 20]>
    encoder (float[1,{rows},{width}] x, int64[1,{rows}] mask) => (float[1,{rows},{width}] y) {{
        float_mask = Cast<to=1>(mask)
        inverted = Sub(one, float_mask)
        additive = Mul(inverted, lowest)
        q0 = MatMul(x, wq)  q = Add(q0, bq)
        k0 = MatMul(x, wk)  k = Add(k0, bk)
        kt = Transpose<perm=[0,2,1]>(k)
        scores = MatMul(q, kt)
        masked = Add(scores, additive)
        weights = Softmax<axis=-1>(masked)
        mixed = MatMul(weights, x)
        summed = Add(mixed, x)
        n = LayerNormalization<axis=-1>(summed, gain, shift)
        u0 = MatMul(n, wu)  u = Add(u0, bu)
        g = Gelu(u)
        d0 = MatMul(g, wd)  d = Add(bd, d0)
        r = Add(d, n)
        y = LayerNormalization<axis=-1>(r, gain, shift)
    }}"""
    shapes = {"wq": (width, width), "wk": (width, width), "wu": (width, 2 * width), "wd": (2 * width, width)}
    arrays = {n: (rng.normal(size=s) / np.sqrt(s[0])).astype(np.float32) for n, s in shapes.items()}
    arrays |= {f"b{n[1]}": (0.1 * rng.normal(size=s[1])).astype(np.float32) for n, s in shapes.items()}
    arrays["bu"] = arrays["bu"] + np.float32(large_bias)
    arrays |= {"gain": np.ones(width, np.float32), "shift": np.zeros(width, np.float32)}
    arrays |= {"one": np.float32(1), "lowest": np.float32(-3.4e38)}
    return save_model(path, text, {n: np.asarray(a) for n, a in arrays.items()})


def encoder_samples(count: int, rows: int = 16, width: int = 32) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    mask = np.ones((1, rows), np.int64)
    mask[:, rows * 3 // 4 :] = 0
    return [{"x": rng.normal(size=(1, rows, width)).astype(np.float32), "mask": mask} for _ in range(count)]


def decibels(reference: np.ndarray, got: np.ndarray) -> float:
    noise = float(np.square(reference.astype(np.float64) - got).sum())
    return np.inf if noise == 0 else 10 * float(np.log10(np.square(reference.astype(np.float64)).sum() / noise))
