"""ONNX Runtime's own static quantization: Q/DQ, uint8 activations, int8 weights with a scale per channel.

    python ort_quantize.py METHOD WHAT CALIBRATION OUT.onnx SOURCE.onnx

METHOD is how ranges are chosen: MinMax, Entropy or Percentile. WHAT is `all` (every operator that it knows) or
`products` (convolutions and products only). CALIBRATION is a folder of .npz files, one sample each.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

_PRODUCTS = ["Conv", "MatMul", "Gemm"]


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        self._left = iter(sorted(folder.iterdir()))

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        path = next(self._left, None)
        return None if path is None else dict(np.load(path))


def main(method: str, what: str, calibration: str, out: str, source: str) -> None:
    logging.disable(logging.WARNING)  # that the file was not passed through its preprocessing
    quantize_static(
        source,
        out,
        _Samples(Path(calibration)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=_PRODUCTS if what == "products" else None,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
