"""Attention and its masks in Core ML packages against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal

from edgeport.quantize.plan import Plan

HALF = 1e-2
"""float16 has 11 bits: scores of about 3 are off by up to 2e-3, so their powers and the weights by 0.2 %."""
LOWEST = float(np.finfo(np.float32).min)


def _inputs(g: Graph, heads: int = 4, shared: int = 4) -> list[str]:
    q = g.input("q", normal(2, heads, 5, 8))
    return [q, *(g.input(n, normal(2, shared, 6, 8, seed=i)) for i, n in enumerate("kv"))]


def _plan(precision: str, system: str = "iOS17") -> Plan:
    return Plan(precision, device={"name": "device", "deployment": system})


def _mask(kind: str) -> np.ndarray:
    allowed = np.random.default_rng(1).random((2, 1, 5, 6)) > 0.4
    allowed[..., 0] = True
    if kind.startswith("dead"):
        allowed[1, 0, 2] = False
    if kind.endswith("bool"):
        return allowed
    low = {"infinite": -np.inf, "lowest": LOWEST, "mild": -3.5, "deep": -1e9}[kind.split()[-1]]
    return np.where(allowed, normal(2, 1, 5, 6, seed=7), low).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["bool", "infinite", "lowest", "mild", "deep", "dead bool", "dead infinite"])
@pytest.mark.parametrize("constant", [False, True], ids=["computed", "constant"])
def test_masks(tmp_path: Path, kind: str, constant: bool, precision: str) -> None:
    g = Graph()
    operands, mask = _inputs(g), _mask(kind)
    g.op("Attention", *operands, g.const(mask) if constant else g.input("mask", mask), out="y")
    kinds = assert_same(g, ["y"], tmp_path, 1e-5 if precision == "fp32" else HALF, _plan(precision))
    assert kinds["matmul"] == 2
    assert kinds["cast"] <= 6


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("system", ["iOS17", "iOS18"])
@pytest.mark.parametrize("shared", [4, 2, 1])
def test_systems_and_shared_heads(tmp_path: Path, shared: int, system: str, precision: str) -> None:
    g = Graph()
    operands = _inputs(g, 4, shared)
    g.op("Attention", *operands, out="a", is_causal=1, scale=0.2)
    g.op("Attention", *operands, g.input("m", _mask("dead infinite")), out="b")
    kinds = assert_same(g, ["a", "b"], tmp_path, 1e-5 if precision == "fp32" else HALF, _plan(precision, system))
    assert kinds["scaled_dot_product_attention"] == (2 if system == "iOS18" and shared == 4 else 0)


@pytest.mark.parametrize("kind", ["bool", "dead infinite"])
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_causal_and_masked(tmp_path: Path, kind: str, rows: int, precision: str) -> None:
    g = Graph()
    operands = _inputs(g)
    mask = g.input("m", _mask(kind)[:, :, 2 - rows // 2 : 3 + rows // 2])
    mask = mask if rows == 5 else g.op("Expand", mask, g.const(np.array([2, 1, 5, 6])))
    g.op("Attention", *operands, mask, out="y", is_causal=1)
    assert_same(g, ["y"], tmp_path, 1e-5 if precision == "fp32" else HALF, _plan(precision))


def test_layers_share_their_mask(tmp_path: Path) -> None:
    g = Graph()
    q, k, v = _inputs(g)
    allowed = g.op("Greater", g.input("m", normal(2, 1, 1, 6)), g.const(np.float32(-0.5)))
    mask = g.op("Expand", allowed, g.const(np.array([2, 1, 5, 6])))
    a = g.op("Attention", q, k, v, mask)
    g.op("Attention", a, k, v, mask, out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert (kinds["sub"], kinds["reduce_max"], kinds["tile"]) == (1, 1, 0)
