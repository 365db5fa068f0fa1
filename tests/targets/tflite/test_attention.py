"""Every form of ONNX's Attention in LiteRT, against the operator's definition in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from tflite_graphs import Graph, normal

from edgeport.passes.pipeline import canonicalize
from edgeport.quantize.plan import Plan
from edgeport.targets.tflite.target import TFLITE

B, S, T, D, E = 2, 3, 5, 8, 6


def defined(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, allowed: np.ndarray, added: np.ndarray, cap: float
) -> tuple[np.ndarray, ...]:
    """Outputs and what the four modes of the score output hold, for 4-D q, k, v and masks that broadcast."""
    group = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
    raw = q @ k.swapaxes(-1, -2) / np.sqrt(np.float32(D))
    capped = cap * np.tanh(raw / cap) if cap else raw
    masked = np.where(allowed, capped + added, -np.inf)
    highest = masked.max(-1, keepdims=True)
    power = np.exp(masked - np.where(np.isinf(highest), 0, highest))
    total = power.sum(-1, keepdims=True)
    weights = np.where(total == 0, 0, power / np.where(total == 0, 1, total))
    return weights @ v, raw, capped, masked, weights


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped": {"heads": (4, 2)},
    "one key head": {"heads": (3, 1), "flat": True},
    "3-D": {"heads": (2, 2), "flat": True},
    "causal": {"causal": True},
    "causal with past": {"causal": True, "past": 2, "flat": True},
    "past and mask": {"past": 2, "mask": (S, T + 2), "heads": (4, 2)},
    "padded keys": {"nonpad": (4, 5)},
    "causal with padded keys, more queries than keys": {"nonpad": (2, 5), "causal": True},
    "padded keys and a short mask": {"nonpad": (3, 4), "mask": (1, 1, S, T - 1)},
    "boolean mask by key": {"mask": (T,), "boolean": True},
    "boolean mask by sample": {"mask": (B, 1, 1, T), "boolean": True},
    "boolean mask by head, causal": {"mask": (2, S, T), "boolean": True, "causal": True},
    "boolean mask with an empty row": {"mask": (S, T), "boolean": True, "empty": True},
    "float mask with an empty row": {"mask": (B, 1, S, T), "empty": True},
    "float mask, causal, with an empty row": {"mask": (S, T), "empty": True, "causal": True},
    "softcap": {"cap": 0.7, "heads": (4, 2)},
    "softcap, mask with an empty row": {"cap": 0.7, "mask": (S, T), "empty": True},
    "softcap, boolean mask with an empty row": {"cap": 0.7, "mask": (S, T), "boolean": True, "empty": True},
    "raw scores": {"mode": 0, "heads": (4, 2), "flat": True},
    "capped scores": {"mode": 1, "cap": 0.7, "causal": True},
    "masked scores": {"mode": 2, "mask": (S, T), "causal": True, "empty": True},
    "weights": {"mode": 3, "mask": (S, T), "boolean": True, "empty": True},
}


@pytest.mark.parametrize("baked", [False, True], ids=["fed", "constant"])
@pytest.mark.parametrize("name", FORMS)
def test_form(tmp_path: Path, name: str, baked: bool) -> None:
    form = FORMS[name]
    heads, shared = form.get("heads", (2, 2))
    past, total = form.get("past", 0), T + form.get("past", 0)
    q, k, v = normal(B, heads, S, D), normal(B, shared, T, D, seed=1), normal(B, shared, T, E, seed=2)
    cache = normal(B, shared, past, D, seed=3), normal(B, shared, past, E, seed=4)
    allowed, added = np.ones((B, 1, S, total), bool), np.zeros((B, 1, S, total), np.float32)
    graph = Graph()
    flat = form.get("flat", False)
    arrays = [x.swapaxes(1, 2).reshape(B, x.shape[2], -1) if flat else x for x in (q, k, v)]
    inputs = [graph.input(n, x) for n, x in zip("qkv", arrays, strict=True)] + [""] * 4
    place = graph.const if baked else lambda x: graph.input(f"i{len(graph.inputs)}", x)
    if "mask" in form:
        mask: np.ndarray = normal(*form["mask"], seed=5)
        mask = mask > -0.5 if form.get("boolean") else np.where(mask > -0.5, mask, np.float32(-np.inf))
        if form.get("empty"):
            mask[..., -1, :] = False if form.get("boolean") else -np.inf
        inputs[3] = place(mask)
        short = total - mask.shape[-1]
        if mask.dtype == bool:
            allowed = allowed & np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, short)])
        else:
            added = added + np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, short)], constant_values=-np.inf)
    offset: Any = past
    if "past" in form:
        inputs[4:6] = graph.input("past_key", cache[0]), graph.input("past_value", cache[1])
        k, v = np.concatenate([cache[0], k], 2), np.concatenate([cache[1], v], 2)
    if "nonpad" in form:
        valid = np.array(form["nonpad"], np.int64)
        inputs[6] = place(valid)
        allowed = allowed & (np.arange(total) < valid[:, None, None, None])
        offset = valid[:, None, None, None] - S
    if form.get("causal"):
        allowed = allowed & (np.arange(total) <= np.arange(S)[:, None] + offset)
    attributes: dict[str, Any] = {"is_causal": int(form.get("causal", False)), "softcap": form.get("cap", 0.0)}
    if flat:
        attributes |= {"q_num_heads": heads, "kv_num_heads": shared}
    y, *stages = defined(q, k, v, allowed, added, form.get("cap", 0.0))
    want = {"y": y.swapaxes(1, 2).reshape(B, S, -1) if flat else y}
    outputs = ["y"]
    if "past" in form:
        want |= {"present_key": k, "present_value": v}
        outputs += ["present_key", "present_value"]
    if "mode" in form:
        want["scores"] = stages[form["mode"]]
        outputs = [*outputs, *["", ""][len(outputs) - 1 :], "scores"]
        attributes["qk_matmul_output_mode"] = form["mode"]
    graph.op("Attention", *inputs, out=outputs, **attributes)
    canonical = canonicalize(ir.serde.deserialize_model(graph.proto(*want)))
    artifact = TFLITE.lower(canonical, Plan("fp32"), tmp_path, "m")
    got = TFLITE.runner(artifact, canonical).run(graph.inputs)
    for output, expected in want.items():
        # XNNPACK's exp and tanh are good to a few 1e-6 of the result's scale.
        np.testing.assert_allclose(got[output], expected, rtol=2e-5, atol=5e-6, err_msg=output)


def test_layers_share_the_mask(tmp_path: Path) -> None:
    graph = Graph()
    q, mask = graph.input("q", normal(1, 2, S, D)), graph.input("m", normal(1, 1, S, S) > -1)
    y = graph.op("Attention", graph.op("Attention", q, q, q, mask), q, q, mask)
    graph.op("Attention", y, q, q, mask, out="y")
    artifact = TFLITE.lower(graph.model("y"), Plan("fp32"), tmp_path, "m")
    assert artifact.facts["op_count"] == 4 + 3 * 6  # cast, sub, mul, max once; then scale, q k, +, softmax, *, v
