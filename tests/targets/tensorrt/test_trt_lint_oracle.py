"""What NVIDIA's ONNX parser does with constructs of quantized files, and what the lint says of each beforehand.

The parser is that of TensorRT for RTX, of the TensorRT 11 generation: where older ones differ, `old` is what the lint
says for a board with TensorRT 8.6.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from trt_qdq_models import CHANNELS, Graph, by_channel, conv, weight

from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.lint import lint
from edgeport.targets.tensorrt.version import Version

NEW = Board(
    device="a new board",
    oldest=Version(11, 0),
    opset=25,
    dialect="trt10",
    precisions=("fp32", "fp16", "int8", "int8-weights", "int4-weights", "fp8"),
)
OLD = Board(device="an old board", oldest=Version(8, 6), opset=17)
needs_parser = pytest.mark.skipif(not oracle.installed(), reason="tensorrt-rtx is not installed")


@dataclass(frozen=True)
class Row:
    """One construct.

    Attributes:
        make: writes a file with it.
        takes: whether NVIDIA's parser takes the file.
        codes: what the lint says for a board of the parser's generation.
        old: what it says besides for one with TensorRT 8.6.
    """

    make: Callable[[], bytes]
    takes: bool
    codes: frozenset[str] = frozenset()
    old: frozenset[str] = frozenset()


def row(make: Callable[[], bytes], takes: bool, codes: str = "", old: str = "") -> Row:
    return Row(make, takes, frozenset(codes.split()), frozenset(old.split()))


def integers(array: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(array / scale.reshape(-1, 1, 1, 1)), -127, 127).astype(np.int8)


def dead_channel() -> np.ndarray:
    scale = by_channel(weight())
    scale[5] = 0
    return scale


def product(dtype: str, opset: int, scale: Any, **qdq: Any) -> bytes:
    """x @ DQ(w), weights of 64 x 64 stored as integers."""
    g = Graph()
    stored = np.random.default_rng(1).integers(-7, 8, (CHANNELS, CHANNELS)).astype(np.int8)
    if dtype != "int8":
        stored = stored.astype({"int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4}[dtype])
    g.constant("w", stored)
    g.op("MatMul", ["x", g.qdq("w", scale, dtype=dtype, stored=True, **qdq)], "y")
    return g.model((8, CHANNELS), "y", opset)


def float8() -> bytes:
    g = Graph()
    g.constant("w", np.random.default_rng(1).normal(0, 1, (CHANNELS, CHANNELS)).astype(np.float32))
    g.op("MatMul", [g.qdq("x", 0.01, dtype="fp8"), g.qdq("w", 0.01, dtype="fp8")], "y")
    return g.model((8, CHANNELS), "y", 19)


def qlinear_conv() -> bytes:
    g = Graph()
    scale, zero = g.constant("s", np.float32(0.02)), g.constant("z", np.int8(0))
    g.constant("w", integers(weight(), by_channel(weight())))
    quantized = g.op("QuantizeLinear", ["x", scale, zero], "x_q")
    c = g.op("QLinearConv", [quantized, scale, zero, "w", scale, zero, scale, zero], "c")
    g.op("DequantizeLinear", [c, scale, zero], "y")
    return g.model((1, CHANNELS, 16, 16), "y")


def dynamic() -> bytes:
    g = Graph()
    g.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="q"))
    g.op("DequantizeLinear", ["q", "s", "z"], "y")
    return g.model((8, CHANNELS), "y")


def matmul_integer() -> bytes:
    g = Graph()
    g.constant("w", np.ones((CHANNELS, 8), np.int8))
    g.op("Cast", [g.op("MatMulInteger", [g.op("Cast", ["x"], "xi", to=TensorProto.INT8), "w"], "i")], "y", to=1)
    return g.model((8, CHANNELS), "y")


def computed_scale() -> bytes:
    g = Graph()
    s = g.op("ReduceMax", ["x"], "s", keepdims=0)
    zero = g.constant("z", np.int8(0))
    data = g.op("DequantizeLinear", [g.op("QuantizeLinear", ["x", s, zero], "q"), s, zero], "dq")
    g.op("Softmax", [data], "y")
    return g.model((8, CHANNELS), "y")


def zero_through_identity() -> bytes:
    g = Graph()
    s, zero = g.constant("s", np.float32(0.02)), g.constant("z", np.int8(0))
    same = g.op("Identity", [zero], "z2")
    data = g.op("DequantizeLinear", [g.op("QuantizeLinear", ["x", s, same], "q"), s, same], "dq")
    g.constant("w", weight())
    g.op("Conv", [data, g.qdq("w", by_channel(weight()), axis=0)], "y")
    return g.model((1, CHANNELS, 16, 16), "y")


BLOCKS = np.full((CHANNELS // 32, CHANNELS), 0.1, np.float32)
ROWS = {
    **{f"right, opset {o}": row(lambda o=o: conv(o), True) for o in (10, 13, 17)},
    **{f"right, opset {o}": row(lambda o=o: conv(o), True, old="trt-opset") for o in (19, 21, 23, 25)},
    "no zero points": row(
        lambda: conv(x={"dtype": None}, w={"dtype": None}), True, "trt-implied-uint8", "trt-missing-zero-point"
    ),
    "int8 weights": row(
        lambda: conv(w={"stored": True}, array=integers(weight(), by_channel(weight()))),
        True,
        old="trt-int8-initializer",
    ),
    "zero point of an activation": row(lambda: conv(x={"zero": 3}), False, "trt-nonzero-zero-point"),
    "zero point of a weight": row(lambda: conv(w={"zero": 3}), False, "trt-nonzero-zero-point"),
    "uint8 with zero point 128": row(lambda: conv(x={"dtype": "uint8", "zero": 128}), False, "trt-uint8"),
    "uint8 with zero point 0": row(lambda: conv(x={"dtype": "uint8"}), True, "trt-uint8"),
    "int32 bias": row(lambda: conv(b={"stored": True, "dtype": "int32", "scale": 1e-4}), False, "trt-int32-bias"),
    "int8 bias": row(lambda: conv(b={"scale": 0.01}), True, "trt-quantized-bias"),
    "scale 0": row(lambda: conv(x={"scale": 0}), False, "trt-bad-scale"),
    "negative scale": row(lambda: conv(x={"scale": -0.02}), False, "trt-bad-scale"),
    "scale NaN": row(lambda: conv(x={"scale": np.nan}), False, "trt-bad-scale"),
    "scale infinite": row(lambda: conv(x={"scale": np.inf}), True, "trt-bad-scale"),
    "one dead channel": row(lambda: conv(w={"scale": dead_channel()}), False, "trt-bad-scale"),
    "int16": row(lambda: conv(21, x={"dtype": "int16"}), False, "trt-int16", "trt-opset"),
    "uint4": row(lambda: product("uint4", 21, 0.1), False, "trt-unsupported-type", "trt-opset"),
    "QLinearConv": row(qlinear_conv, False, "trt-integer-operator"),
    "DynamicQuantizeLinear": row(dynamic, False, "trt-integer-operator trt-uint8 trt-computed-scale"),
    "MatMulInteger": row(matmul_integer, False, "trt-integer-operator"),
    "scale at run time": row(computed_scale, True, "trt-computed-scale", "trt-dynamic-scale"),
    "com.microsoft": row(
        lambda: conv(x={"domain": "com.microsoft"}, w={"domain": "com.microsoft"}), True, old="trt-microsoft-domain"
    ),
    "weights on the wrong axis": row(
        lambda: conv(w={"axis": 1, "scale": by_channel(weight(), 1)}), True, "trt-weight-axis"
    ),
    "weights without an axis": row(
        lambda: conv(w={"axis": None, "scale": by_channel(weight(), 1)}), True, "trt-weight-axis", "trt-missing-axis"
    ),
    "activation by channel": row(
        lambda: conv(x={"axis": 1, "scale": np.full(CHANNELS, 0.02)}), True, "trt-channel-activation"
    ),
    "too few scales": row(lambda: conv(w={"scale": np.full(63, 0.02)}), False, "trt-scale-count"),
    "zero point through Identity": row(zero_through_identity, True, old="trt-shared-zero-point"),
    "float8": row(float8, True, old="trt-opset trt-no-fp8"),
    "int8 weights only": row(
        lambda: product("int8", 17, np.full(CHANNELS, 0.1), axis=1), True, old="trt-int8-initializer"
    ),
    "int4 weights in blocks of 32": row(
        lambda: product("int4", 21, BLOCKS, axis=0, block_size=32), True, old="trt-opset trt-no-int4 trt-block"
    ),
    "blocks on two axes": row(
        lambda: product("int4", 21, np.full((2, 2), 0.1), axis=0, block_size=32),
        False,
        "trt-block",
        "trt-opset trt-no-int4",
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_lint(name: str) -> None:
    case = ROWS[name]
    model = ir.from_proto(onnx.ModelProto.FromString(case.make()))
    assert {finding.code for finding in lint(model, NEW)} == case.codes
    found = {finding.code for finding in lint(model, OLD)}
    assert case.old <= found
    if not case.takes:  # what the newest parser rejects, no older one takes
        assert any(finding.severity == "error" for finding in lint(model, NEW))


@needs_parser
@pytest.mark.parametrize("name", ROWS)
def test_nvidia_agrees(name: str) -> None:
    case = ROWS[name]
    assert (not oracle.rejections(case.make())) is case.takes


@needs_parser
@pytest.mark.parametrize("name", ["weights on the wrong axis", "weights without an axis", "activation by channel"])
def test_slow_constructs_lose_the_integer_kernels(name: str) -> None:
    """Without integer kernels the engine holds the 64x64x3x3 weights as floats: 3 bytes more for each of them."""
    right, slow = (len(oracle.build(ROWS[n].make(), ("SM86",))) for n in ("right, opset 17", name))
    assert slow - right > 2 * weight().size


@needs_parser
def test_int4_activations_are_parsed_and_not_built() -> None:
    data = conv(21, x={"dtype": "int4"})
    assert not oracle.rejections(data)
    with pytest.raises(oracle.WorkerError):
        oracle.build(data, ("SM86",))


@needs_parser
def test_float8_needs_a_gpu_that_has_it() -> None:
    assert oracle.build(float8(), ("SM89",))
    with pytest.raises(oracle.WorkerError, match="fp8"):
        oracle.build(float8(), ("SM86",))


def random_product(rng: random.Random) -> bytes:
    """x @ w with Q/DQ of random parameters, most of them wrong in some way."""

    def parameters() -> dict[str, Any]:
        base = rng.choice((0.0, -0.1, math.nan)) if rng.random() < 0.05 else 0.02
        shape = rng.choice(((), (), (CHANNELS,), (1,), (CHANNELS - 1,), (2, 2)))
        given: dict[str, Any] = {"scale": np.full(shape, base)}
        if rng.random() < 0.6:
            given["axis"] = rng.choice((0, 1, -1, 2, 5))
        if rng.random() < 0.3:
            given["dtype"] = rng.choice(("int8", "uint8", "int4", "int16", "fp8", "uint4", None))
        if rng.random() < 0.2:
            given["zero"] = rng.choice((0, 1))
        return given

    g = Graph()
    g.constant("w", np.random.default_rng(0).normal(0, 0.1, (CHANNELS, CHANNELS)).astype(np.float32))
    weights = g.qdq("w", **parameters())
    data = g.qdq("x", **parameters()) if rng.random() < 0.6 else "x"
    if rng.random() < 0.3:
        weights = g.op("Transpose", [weights], "wt", perm=[1, 0])
    g.op(rng.choice(("MatMul", "Gemm")), [data, weights], "y")
    return g.model((8, CHANNELS), "y", rng.choice((13, 17, 19, 21, 23)))


@needs_parser
@pytest.mark.parametrize("seed", range(3))
def test_every_rejection_is_foreseen(seed: int) -> None:
    """In random files the lint finds an error exactly where NVIDIA's parser does, but for what the parser lets pass."""
    rng = random.Random(seed)
    verdicts = Counter[bool]()
    for _ in range(80):
        data = random_product(rng)
        model = ir.from_proto(onnx.ModelProto.FromString(data))
        errors = {finding.code for finding in lint(model, NEW) if finding.severity == "error"}
        rejected = bool(oracle.rejections(data))
        verdicts[rejected] += 1
        assert errors or not rejected
        assert rejected or errors <= {"trt-uint8", "trt-int4-activation"}
    assert min(verdicts.values()) > 5
