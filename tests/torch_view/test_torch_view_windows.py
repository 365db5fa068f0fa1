"""Convolutions and pools of the torch view beside ONNX Runtime's, over random kernels, steps and pads."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from view_graphs import assert_same, model_of, normal

from edgeport.errors import EdgeportError
from edgeport.torch_view.view import check, torch_view


def _dims(values: Iterable[int]) -> str:
    return ",".join(str(v) for v in values)


def _ints(values: Iterable[int]) -> str:
    return f"[{_dims(values)}]"


@pytest.mark.parametrize("seed", range(24))
def test_conv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, groups = seed % 3 + 1, (1, 2, 4)[seed // 3 % 3]
    size, kernel = rng.integers(7, 11, n), rng.integers(1, 4, n)
    strides, dilations = rng.integers(1, 4, n), rng.integers(1, 3, n)
    pads = rng.integers(0, 4, 2 * n) if seed % 4 else np.tile(rng.integers(0, 3, n), 2)
    placed = f"pads={_ints(pads)}"
    if seed % 5 == 0:
        placed = f'auto_pad="{("SAME_UPPER", "SAME_LOWER", "VALID")[seed // 5 % 3]}"'
        dilations = np.ones(n, int)  # others ONNX Runtime does not take with it
    model = model_of(
        f"""g (float[2,4,{_dims(size)}] x) => (y) {{
        y = Conv<group={groups},strides={_ints(strides)},dilations={_ints(dilations)},{placed}>(x, w, b) }}""",
        {"w": normal(8, 4 // groups, *kernel), "b": normal(8, seed=1)},
    )
    assert_same(model, {"x": normal(2, 4, *size, seed=seed)})


@pytest.mark.parametrize("seed", range(24))
def test_conv_transpose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, groups = seed % 3 + 1, (1, 2)[seed // 3 % 2]
    size, kernel = rng.integers(3, 6, n), rng.integers(2, 4, n)
    strides, dilations = rng.integers(1, 4, n), rng.integers(1, 3, n)
    extra = [int(rng.integers(0, s)) for s in strides]
    pads = rng.integers(0, 2, 2 * n) if seed % 4 else np.tile(rng.integers(0, 2, n), 2)
    placed = f"pads={_ints(pads)}, output_padding={_ints(extra)}"
    if seed % 5 == 0:
        placed = f"output_shape={_ints(size * strides)}"
    elif seed % 7 == 0:
        placed = f'auto_pad="{("SAME_UPPER", "SAME_LOWER")[seed // 7 % 2]}"'
    model = model_of(
        f"""g (float[2,4,{_dims(size)}] x) => (y) {{
        y = ConvTranspose<group={groups},strides={_ints(strides)},dilations={_ints(dilations)},{placed}>(x, w, b) }}""",
        {"w": normal(4, 3, *kernel), "b": normal(3 * groups, seed=1)},
    )
    assert_same(model, {"x": normal(2, 4, *size, seed=seed)})


def _pool(seed: int) -> tuple[str, tuple[int, ...]]:
    """Attributes of a pool whose windows all hold data, and the shape of its input."""
    rng = np.random.default_rng(seed)
    n = seed % 3 + 1
    size, kernel, strides = rng.integers(7, 11, n), rng.integers(2, 4, n), rng.integers(1, 4, n)
    dilations = rng.integers(1, 3, n) if seed % 2 else np.ones(n, int)
    pads = [int(rng.integers(0, k)) for k in [*kernel, *kernel]]
    placed = f"pads={_ints(pads)}, ceil_mode={seed // 2 % 2}"
    if seed % 8 == 0:
        placed = f'auto_pad="{("SAME_UPPER", "SAME_LOWER")[seed // 8 % 2]}"'
        strides = np.minimum(strides, kernel)
    given = f"kernel_shape={_ints(kernel)}, strides={_ints(strides)}, dilations={_ints(dilations)}, {placed}"
    return given, (2, 3, *(int(s) for s in size))


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("seed", range(24))
def test_max_pool_with_places(seed: int, order: int) -> None:
    given, shape = _pool(seed)
    text = f"g (float[{_dims(shape)}] x) => (y, p) {{ y, p = MaxPool<{given}, storage_order={order}>(x) }}"
    # Whole numbers repeat: the place must be that of the first.
    assert_same(model_of(text), {"x": np.round(normal(*shape, seed=seed))})


@pytest.mark.parametrize("inclusive", [0, 1])
@pytest.mark.parametrize("seed", range(24))
def test_average_pool(seed: int, inclusive: int) -> None:
    given, shape = _pool(seed)
    text = f"g (float[{_dims(shape)}] x) => (y) {{ y = AveragePool<{given}, count_include_pad={inclusive}>(x) }}"
    model = model_of(text)
    if check(model):  # where a window lies in the padding altogether
        with pytest.raises(EdgeportError, match="AveragePool"):
            torch_view(model)
        return
    assert_same(model, {"x": normal(*shape, seed=seed)})


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_max_pool_of_integers(axes: int, dtype: str) -> None:
    shape, pads = (1, 2, *[5] * axes), [1, *[0] * (2 * axes - 1)]
    text = f"g ({dtype}[{_dims(shape)}] x) => (y) {{ y = MaxPool<kernel_shape={[3] * axes}, pads={pads}>(x) }}"
    x = np.random.default_rng(0).integers(-100 if dtype == "int8" else 0, 100, shape).astype(dtype)
    assert_same(model_of(text), {"x": x})


def test_batch_of_any_size() -> None:
    model = model_of(
        """g (float[N,4,9,9] x) => (y) {
        c = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)
        r = Relu(c)
        y = GlobalAveragePool(r) }""",
        {"w": normal(8, 4, 3, 3)},
    )
    for batch in (1, 5):
        assert_same(model, {"x": normal(batch, 4, 9, 9)})
