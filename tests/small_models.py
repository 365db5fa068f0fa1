"""A small model and image-like data, made from seeds."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx


def smooth_images(count: int, channels: int, size: int, seed: int = 0) -> np.ndarray:
    """Images with the 1/f spectrum of photographs, float32 (count, channels, size, size), about N(0, 1)."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    spectrum = rng.normal(size=(count, channels, size, size // 2 + 1, 2)) @ np.array([1, 1j])
    images = np.fft.irfft2(spectrum / np.maximum(np.hypot(fy, fx), 1 / size), s=(size, size))
    return (images / images.std(axis=(1, 2, 3), keepdims=True)).astype(np.float32)


def small_cnn() -> onnx.ModelProto:
    """Conv, depthwise Conv, residual Add, pooling and Gemm with a symbolic batch; weights N(0, 2 / fan-in)."""
    rng = np.random.default_rng(1)
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> cnn (float[N,3,16,16] image) => (float[N,10] logits) {
        a = Conv<pads=[1,1,1,1], strides=[2,2]>(image, w1, b1)
        r = Relu(a)
        d = Conv<pads=[1,1,1,1], group=16>(r, w2, b2)
        e = Clip(d, zero, six)
        p = Conv(e, w3, b3)
        s = Add(p, r)
        m = ReduceMean<axes=[2,3], keepdims=0>(s)
        logits = Gemm<transB=1>(m, w4, b4)
    }"""
    )
    shapes = {"w1": (16, 3, 3, 3), "w2": (16, 1, 3, 3), "w3": (16, 16, 1, 1), "w4": (10, 16)}
    arrays = {n: rng.normal(size=s) * np.sqrt(2 / np.prod(s[1:])) for n, s in shapes.items()}
    arrays |= {f"b{i}": 0.1 * rng.normal(size=n) for i, n in ((1, 16), (2, 16), (3, 16), (4, 10))}
    arrays |= {"zero": np.array(0.0), "six": np.array(6.0)}
    for name, array in arrays.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array, np.float32), name))
    return model


def quantized_by_onnxruntime(path: Path | str, **arguments: Any) -> None:
    """Writes `small_cnn` as ONNX Runtime's `quantize_static` quantizes it, calibrated with 4 images."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(smooth_images(4, 3, 16)[:, None])

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._rest, None)
            return None if image is None else {"image": image}

    quantize_static(small_cnn(), path, Reader(), **arguments)
