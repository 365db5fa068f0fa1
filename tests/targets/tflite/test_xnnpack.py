"""Why operators run outside XNNPACK: hand-made files of one operator each, judged by LiteRT itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.quantize.plan import QParams
from edgeport.targets.tflite.builder import Builder
from edgeport.targets.tflite.interpreter import interpreter
from edgeport.targets.tflite.verify import inspect_file
from edgeport.targets.tflite.xnnpack import left_over

IMAGE = (1, 4, 4, 8)


def int8(scale: float = 0.05, zero_point: int = 3) -> QParams:
    return QParams("int8", np.asarray(scale, np.float32), np.asarray(zero_point, np.int32))


def file_of(
    code: str, inputs: list[tuple[tuple[int, ...], str, QParams | None]], output: QParams | None, **options: Any
) -> bytes:
    """One operator of inputs (shape, dtype, parameters) and an output like the first."""
    b = Builder()
    tensors = [b.tensor(f"x{i}", shape, dtype, quant) for i, (shape, dtype, quant) in enumerate(inputs)]
    out = b.tensor("y", tensors[0].shape, tensors[0].dtype, output)
    b.op(code, tensors, [out], options.pop("table", None), **options)
    return b.pack({t.name: t for t in tensors}, {"y": out}, "")


BMM: dict[str, Any] = {"table": "BatchMatMulOptions", "adjX": False, "adjY": False}
SQUARE = (1, 8, 8)
CASES = {
    "float only": (file_of("HARD_SWISH", [(IMAGE, "int8", int8())], int8()), "XNNPACK has HARD_SWISH for float32 only"),
    "none at all": (file_of("SIGN", [(IMAGE, "float32", None)], None), "XNNPACK has no SIGN"),
    "int64": (
        file_of("ADD", [(IMAGE, "int64", None), (IMAGE, "int64", None)], None, table="AddOptions"),
        "XNNPACK has no ADD for int64",
    ),
    "right zero point": (
        file_of("BATCH_MATMUL", [(SQUARE, "int8", int8()), (SQUARE, "int8", int8())], int8(), **BMM),
        "its right-hand side has zero point 3, and XNNPACK's integer kernel takes 0 only",
    ),
    "gain": (
        file_of("ADD", [(IMAGE, "int8", int8()), (IMAGE, "int8", int8())], int8(0.05 / 300), table="AddOptions"),
        "its inputs' scale is 300 times its output's, beyond what XNNPACK's integer kernel takes",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str) -> None:
    data, reason = CASES[name]
    facts, findings = inspect_file(data, "m")
    assert sum(facts["not_on_xnnpack"].values()) == 1
    assert reason in findings[0].message
    assert findings[0].node == "y"


@pytest.mark.parametrize(
    "data",
    [
        file_of("HARD_SWISH", [(IMAGE, "float32", None)], None),
        file_of("BATCH_MATMUL", [(SQUARE, "int8", int8()), (SQUARE, "int8", int8(0.05, 0))], int8(), **BMM),
        file_of("ADD", [(IMAGE, "int8", int8()), (IMAGE, "int8", int8())], int8(), table="AddOptions"),
    ],
)
def test_what_xnnpack_takes_is_not_listed(data: bytes) -> None:
    assert left_over(interpreter(data, experimental_disable_delegate_node_fusion=True))[1] == []
