"""Products, normalizations and int8 activations of the evaluator against coremltools' own folding and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.run import Evaluator

RNG = np.random.default_rng(6)
# Float32 sums of a few dozen terms of size 1, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X, Y, Z = _random(2, 5, 7), _random(2, 7, 4), _random(3, 2, 5, 4)
FOLDED = {
    "linear": lambda mb: mb.linear(x=X, weight=Y[0].T, bias=Y[0, 0]),
    "linear-vector": lambda mb: mb.linear(x=X[0, 0], weight=Y[0].T),
    "linear-integers": lambda mb: mb.linear(x=np.int32([[1, 2], [3, 4]]), weight=np.int32([[5, 6], [7, 8], [9, 9]])),
    "matmul": lambda mb: mb.matmul(x=X, y=Y),
    "matmul-broadcast": lambda mb: mb.matmul(x=X[0], y=Y),
    "matmul-both-transposed": lambda mb: mb.matmul(x=Y, y=X, transpose_x=True, transpose_y=True),
    "matmul-vector": lambda mb: mb.matmul(x=X[0, 0], y=Y[0]),
    "matmul-integers": lambda mb: mb.matmul(x=np.int32([[1, -2]]), y=np.int32([[3], [4]])),
    "einsum": lambda mb: mb.einsum(values=(Z, _random(3, 4, 5, 6)), equation="nchw,nwhu->nchu"),
    "einsum-broadcast": lambda mb: mb.einsum(values=(Z, _random(1, 4, 1, 6)), equation="abcd,adce->abce"),
    "einsum-rank-3": lambda mb: mb.einsum(values=(Z[0], _random(4, 5, 6)), equation="chw,whr->chr"),
    "layer_norm": lambda mb: mb.layer_norm(x=Z, axes=[-1, 2], gamma=_random(5, 4), beta=_random(5, 4), epsilon=1e-3),
    "layer_norm-one-axis": lambda mb: mb.layer_norm(x=Z, axes=[1]),
    "l2_norm": lambda mb: mb.l2_norm(x=Z, epsilon=1e-2),
    "l2_norm-rank-3": lambda mb: mb.l2_norm(x=Z[0]),
    "quantize": lambda mb: mb.quantize(
        input=Z, scale=np.float32([0.02, 0.05]), zero_point=np.int8([3, -120]), axis=1, output_dtype="int8"
    ),
    "quantize-ties": lambda mb: mb.quantize(
        input=np.float32([0.25, 0.75, 1.25, -0.25, 999]), scale=np.float32(0.5), output_dtype="uint8"
    ),
    "dequantize": lambda mb: mb.dequantize(
        input=np.int8([[1, -128], [7, 127]]), scale=np.float32([0.1, 3]), zero_point=np.int8([5, -9]), axis=-1
    ),
    "pad": lambda mb: mb.pad(x=Z, pad=[1, 2, 0, 3], constant_val=np.float32(1.5)),
    "pad-reflect": lambda mb: mb.pad(x=Z, pad=[4, 3, 3, 2], mode="reflect"),
    "pad-replicate": lambda mb: mb.pad(x=Z, pad=[0, 1, 2, 0, 4, 0], mode="replicate"),
}


@pytest.fixture(scope="module")
def folded(save: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, np.ndarray]]:
    """All of them in one program: what coremltools folds each to, and what the evaluator gives."""
    path, values = save(tmp_path_factory.mktemp("dense") / "m.mlpackage", lambda mb: [f(mb) for f in FOLDED.values()])
    found = Evaluator(path).run({"unused": np.zeros(1, np.float32)}, keep=None).values
    return {case: (value, found[value.name]) for case, value in zip(FOLDED, values, strict=True)}


@pytest.mark.parametrize("case", FOLDED)
def test_is_what_coremltools_folds_it_to(folded: dict[str, tuple[Any, np.ndarray]], case: str) -> None:
    value, found = folded[case]
    expected = value.val if value.val is not None else value.op.materialized_val_inference()
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_attention_is_coremltools_own(evaluate: Any) -> None:
    query, key, value = _random(2, 3, 4, 6), _random(2, 3, 5, 6), _random(2, 3, 5, 2)
    masks = [RNG.random((4, 5)) > 0.4, _random(1, 1, 4, 5)]
    masks[0][:, 0] = True  # a row that attends to nothing is not defined

    def build(mb: Any) -> list[Any]:
        plain = mb.scaled_dot_product_attention(query=query, key=key, value=value)
        return [
            plain,
            *(mb.scaled_dot_product_attention(query=query, key=key, value=value, attn_mask=m) for m in masks),
        ]

    for expected, found in evaluate(build, "iOS18"):
        np.testing.assert_allclose(found, expected.val, **CLOSE)


NORMALIZATIONS = ("batch_norm", "batch_norm-plain", "instance_norm", "instance_norm-plain", "local_response_norm")


@pytest.mark.parametrize("case", NORMALIZATIONS)
def test_normalizations_are_pytorchs(evaluate: Any, case: str) -> None:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    x, gamma, beta, mean = _random(2, 6, 4, 5), _random(6), _random(6), _random(6)
    variance = RNG.random(6).astype(np.float32) + 0.5
    scaled = {} if case.endswith("plain") else {"gamma": gamma, "beta": beta}
    kind = case.split("-")[0]
    options: dict[str, Any] = {
        "batch_norm": {"mean": mean, "variance": variance, "epsilon": np.float32(1e-3), **scaled},
        "instance_norm": {"epsilon": np.float32(1e-3), **scaled},
        "local_response_norm": {"size": 3, "alpha": 0.3, "beta": 0.6, "k": 1.5},
    }[kind]

    ((_, found),) = evaluate(lambda mb, x: getattr(mb, kind)(x=x, **options), inputs={"x": x})

    image, weight, bias = (torch.from_numpy(array) for array in (x, gamma, beta))
    weight, bias = (weight, bias) if scaled else (None, None)
    expected = {
        "batch_norm": lambda: F.batch_norm(
            image, torch.from_numpy(mean), torch.from_numpy(variance), weight, bias, eps=1e-3
        ),
        "instance_norm": lambda: F.instance_norm(image, weight=weight, bias=bias, eps=1e-3),
        "local_response_norm": lambda: F.local_response_norm(image, 3, alpha=0.3, beta=0.6, k=1.5),
    }[kind]()
    np.testing.assert_allclose(found, expected.numpy(), **CLOSE)
