"""Recurrent layers against torch; what torch does not have against ONNX Runtime or a loop of single steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
RNG = np.random.default_rng(0)
X = RNG.standard_normal((STEPS, BATCH, INPUTS)).astype(np.float32)


def _random(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def _reordered(blocks: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    parts = np.split(blocks, len(order))
    return np.concatenate([parts[i] for i in order])


def _close(got: Any, want: Any) -> None:
    # Five steps of sums in another order.
    np.testing.assert_allclose(got, np.asarray(want), atol=2e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("whole", [True, False])
def test_lstm_as_torch(evaluate: Any, direction: str, whole: bool) -> None:
    import torch

    both = direction == "bidirectional"
    layer = torch.nn.LSTM(INPUTS, HIDDEN, bidirectional=both)
    h, c = _random(BATCH, HIDDEN * (1 + both)), _random(BATCH, HIDDEN * (1 + both))
    ifoz = (0, 1, 3, 2)  # torch has input, forget, cell, output

    def weights(suffix: str, name: str) -> dict[str, np.ndarray]:
        held = {key: value.detach().numpy() for key, value in layer.named_parameters()}
        return {
            f"weight_ih{name}": _reordered(held[f"weight_ih_l0{suffix}"], ifoz),
            f"weight_hh{name}": _reordered(held[f"weight_hh_l0{suffix}"], ifoz),
            f"bias{name}": _reordered(held[f"bias_ih_l0{suffix}"] + held[f"bias_hh_l0{suffix}"], ifoz),
        }

    given = weights("", "") | (weights("_reverse", "_back") if both else {})

    def build(mb: Any, x: Any) -> Any:
        return mb.lstm(x=x, initial_h=h, initial_c=c, direction=direction, output_sequence=whole, **given)

    found = [got for _, got in evaluate(build, "iOS17", {"x": X})]
    rows = torch.from_numpy(X[::-1].copy() if direction == "reverse" else X)
    states = [torch.from_numpy(s.reshape(BATCH, 1 + both, HIDDEN).transpose(1, 0, 2).copy()) for s in (h, c)]
    with torch.no_grad():
        sequence, (last_h, last_c) = layer(rows, tuple(states))
    joined = [state.transpose(0, 1).reshape(BATCH, -1) for state in (last_h, last_c)]
    if not whole:
        sequence = joined[0][None]
    elif direction == "reverse":
        sequence = sequence.flip(0)
    for got, want in zip(found, (sequence, *joined), strict=True):
        _close(got, want)


def test_lstm_with_peepholes_and_clip(evaluate: Any) -> None:
    """Against single steps in float64: the input and forget gates see the old cell, the output gate the new one."""
    w, r, b, p = _random(4 * HIDDEN, INPUTS), _random(4 * HIDDEN, HIDDEN), _random(4 * HIDDEN), _random(3 * HIDDEN)
    zeros = np.zeros((BATCH, HIDDEN), np.float32)

    def build(mb: Any, x: Any) -> Any:
        return mb.lstm(
            x=x, initial_h=zeros, initial_c=zeros, weight_ih=w, weight_hh=r, bias=b, peephole=p, clip=np.float32(0.3),
            recurrent_activation="hard_sigmoid", cell_activation="relu", activation="linear",
        )  # fmt: skip

    found = [got for _, got in evaluate(build, inputs={"x": X})]
    h, c = zeros.astype(np.float64), zeros.astype(np.float64)
    see_i, see_f, see_o = np.split(p.astype(np.float64), 3)
    for x in X.astype(np.float64):
        i, f, o, z = np.split(x @ w.T + h @ r.T + b, 4, axis=1)
        i, f = (np.clip(0.2 * (gate + see * c) + 0.5, 0, 1) for gate, see in ((i, see_i), (f, see_f)))
        c = np.clip(f * c + i * np.maximum(z, 0), -0.3, 0.3)
        h = np.clip(0.2 * (o + see_o * c) + 0.5, 0, 1) * c
    for got, want in zip(found, (h[None], h, c), strict=True):
        _close(got, want)


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_gru_as_onnx_runtime(evaluate: Any, reset_after: bool, direction: str) -> None:
    import onnx
    import onnxruntime

    w, r, wb, rb = (_random(3 * HIDDEN, *rest) for rest in ((INPUTS,), (HIDDEN,), (), ()))
    h = _random(BATCH, HIDDEN)
    zrh = (2, 0, 1)  # ONNX has update, reset, hidden; MIL reset, output, update
    node = onnx.helper.make_node(
        "GRU", ["x", "w", "r", "b", "", "h"], ["y", "last"], hidden_size=HIDDEN, direction=direction,
        linear_before_reset=int(reset_after),
    )  # fmt: skip
    stored = {
        "w": _reordered(w, zrh)[None],
        "r": _reordered(r, zrh)[None],
        "b": np.concatenate([_reordered(wb, zrh), _reordered(rb, zrh)])[None],
        "h": h[None],
    }
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, X.shape)],
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("y", "last")],
        [onnx.numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    sequence, last = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X})
    biases = {"bias": rb, "input_bias": wb, "reset_after": True} if reset_after else {"bias": wb + rb}

    def build(mb: Any, x: Any) -> Any:
        return mb.gru(x=x, initial_h=h, weight_ih=w, weight_hh=r, direction=direction, output_sequence=True, **biases)

    found = [got for _, got in evaluate(build, "iOS18" if reset_after else "iOS16", {"x": X})]
    _close(found[0], sequence[:, 0])
    _close(found[1], last[0])


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_as_torch(evaluate: Any, activation: str) -> None:
    import torch

    layer = torch.nn.RNN(INPUTS, HIDDEN, nonlinearity=activation)
    w, r, wb, rb = (parameter.detach().numpy() for parameter in layer.parameters())
    h = _random(BATCH, HIDDEN)

    def build(mb: Any, x: Any) -> Any:
        given = {"weight_ih": w, "weight_hh": r, "bias": wb + rb, "activation": activation}
        return mb.rnn(x=x, initial_h=h, output_sequence=True, **given)

    with torch.no_grad():
        wanted = layer(torch.from_numpy(X), torch.from_numpy(h)[None])
    for (_, got), want in zip(evaluate(build, inputs={"x": X}), wanted, strict=True):
        _close(got, want.reshape(got.shape))


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_pessimistic_sums_reach_into_layers(evaluate: Any, kind: str) -> None:
    """Sums that stay under one step of fp16 each are lost where every term is rounded, and only there."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    x = np.full((1, 1, 2048), 1, np.float16)
    h = np.zeros((1, 1), np.float16)
    weight = np.full((gates, 2048), 2**-14, np.float16)
    weight[:, 0] = 1  # then 2^-14 is an eighth of what fp16 resolves

    def build(mb: Any, x: Any) -> Any:
        states = {"initial_h": h, "initial_c": h} if kind == "lstm" else {"initial_h": h}
        recurrent = np.zeros((gates, 1), np.float16)
        return getattr(mb, kind)(x=x, weight_ih=weight, weight_hh=recurrent, activation="linear", **states)

    wide, narrow = (evaluate(build, "iOS17", {"x": x}, mode)[0][1].item() for mode in ("declared", "accumulate16"))

    def run(total: float) -> float:
        gate = 1 / (1 + np.exp(-total))
        return {"rnn": total, "gru": (1 - gate) * total, "lstm": gate * gate * np.tanh(total)}[kind]

    # One rounding of the result, or of the states on its way, to fp16's 11 bits.
    assert wide == pytest.approx(run(1 + 2047 * 2**-14), rel=2**-10)
    assert narrow == pytest.approx(run(1), rel=2**-10)
