"""How many TRANSPOSEs typical blocks leave in the file, and that the numbers are right with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, normal

from edgeport.targets.tflite.layout import (
    ADDED,
    channels_last,
    conversion,
    identity,
    reshapable,
    reshaped,
    stored_shape,
    transposed,
)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def conv(g: Graph, x: str, ins: int, outs: int, size: int = 1, **attributes: Any) -> str:
    w = normal(outs, ins, size, size, seed=len(g.nodes)) / np.float32(size * np.sqrt(ins))
    return str(g.op("Conv", x, g.const(w), g.const(normal(outs)), pads=[size // 2] * 4, **attributes))


def test_u_net_is_transposed_at_its_ends_only(tmp_path: Path) -> None:
    g = Graph()
    a = g.op("Relu", conv(g, g.input("x", normal(1, 3, 16, 16)), 3, 8, 3))
    b = g.op("Relu", conv(g, g.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 8, 16, 3))
    up = g.op("ConvTranspose", b, g.const(normal(16, 8, 2, 2)), strides=[2, 2])
    near = g.op("Resize", b, "", g.const(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    y = conv(g, g.op("Concat", a, up, near, axis=1), 32, 2)
    assert assert_same(g, [g.op("Softmax", y, axis=1)], tmp_path).facts["transposes"] == 2


def test_channel_shuffle_is_one_transpose(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 8, 6, 6)), 8, 8)
    left, right = g.op("Split", a, axis=1, num_outputs=2, out=["l", "r"])
    joined = g.op("Concat", left, conv(g, right, 4, 4), axis=1)
    groups = g.op("Reshape", joined, g.const(i64(1, 2, 4, 6, 6)))
    shuffled = g.op("Reshape", g.op("Transpose", groups, perm=[0, 2, 1, 3, 4]), g.const(i64(1, 8, 6, 6)))
    y = g.op("GlobalAveragePool", conv(g, shuffled, 8, 5))
    artifact = assert_same(g, [g.op("Reshape", y, g.const(i64(1, 5)))], tmp_path)
    assert artifact.facts["transposes"] == 2  # the input and the shuffle


def test_squeeze_and_excitation(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 1, 6, 6)), 1, 8)
    s = g.op("Relu", conv(g, g.op("ReduceMean", a, g.const(i64(2, 3)), keepdims=1), 8, 2))
    y = g.op("Mul", a, g.op("HardSigmoid", conv(g, s, 2, 8)))
    artifact = assert_same(g, [g.op("GlobalAveragePool", y)], tmp_path)
    assert artifact.facts["transposes"] == 0  # one input channel: a RESHAPE


def test_squeeze_and_excitation_through_linear_layers(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 3, 6, 6)), 3, 8)
    pooled = g.op("Reshape", g.op("GlobalAveragePool", a), g.const(i64(1, 8)))
    gate = g.op("Sigmoid", g.op("MatMul", pooled, g.const(normal(8, 8))))
    y = g.op("Mul", a, g.op("Reshape", gate, g.const(i64(1, 8, 1, 1))))
    assert assert_same(g, [g.op("GlobalMaxPool", y)], tmp_path).facts["transposes"] == 1


def test_vit_block_moves_only_its_heads(tmp_path: Path) -> None:
    g = Graph()
    patches = g.op("Conv", g.input("x", normal(1, 3, 8, 8)), g.const(normal(16, 3, 2, 2) / 4), strides=[2, 2])
    tokens = g.op("Transpose", g.op("Reshape", patches, g.const(i64(1, 16, 16))), perm=[0, 2, 1])
    x = g.op("Add", g.op("Concat", g.const(normal(1, 1, 16)), tokens, axis=1), g.const(normal(1, 17, 16)))
    h = g.op("LayerNormalization", x, g.const(normal(16)), g.const(normal(16)))
    heads = []
    for seed in (1, 2, 3):
        p = g.op("MatMul", h, g.const(normal(16, 16, seed=seed) / 4))
        heads.append(g.op("Transpose", g.op("Reshape", p, g.const(i64(1, 17, 4, 4))), perm=[0, 2, 1, 3]))
    scores = g.op("MatMul", heads[0], g.op("Transpose", heads[1], perm=[0, 1, 3, 2]))
    a = g.op("MatMul", g.op("Softmax", scores), heads[2])
    a = g.op("Reshape", g.op("Transpose", a, perm=[0, 2, 1, 3]), g.const(i64(1, 17, 16)))
    x = g.op("Add", x, g.op("MatMul", a, g.const(normal(16, 16) / 4)))
    y = g.op("Gather", x, g.const(np.int64(0)), axis=1)
    artifact = assert_same(g, [y], tmp_path, rtol=1e-4, atol=1e-4)
    assert artifact.facts["transposes"] == 5  # the image, q, k, v and the way back


def test_attention_over_pixels_comes_back_as_an_image_in_one_move(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 4, 6, 6)), 4, 8)
    heads = g.op("Reshape", a, g.const(i64(1, 2, 4, 36)))
    scores = g.op("Softmax", g.op("MatMul", g.op("Transpose", heads, perm=[0, 1, 3, 2]), heads), axis=-1)
    mixed = g.op("MatMul", heads, g.op("Transpose", scores, perm=[0, 1, 3, 2]))
    image = g.op("Reshape", mixed, g.const(i64(1, 8, 6, 6)))
    y = g.op("GlobalAveragePool", conv(g, g.op("Add", image, conv(g, a, 8, 8)), 8, 5))
    artifact = assert_same(g, [g.op("Reshape", y, g.const(i64(1, 5)))], tmp_path)
    assert artifact.facts["transposes"] <= 5  # the input, three operands and the result


def test_flatten_before_a_linear_layer_permutes_its_rows(tmp_path: Path) -> None:
    for flatten in ("Flatten", "Reshape"):
        g = Graph()
        a = conv(g, g.input("x", normal(2, 3, 4, 5)), 3, 6)
        flat = g.op("Flatten", a) if flatten == "Flatten" else g.op("Reshape", a, g.const(i64(2, 120)))
        y = g.op("Add", g.op("MatMul", flat, g.const(normal(120, 7))), g.const(normal(7)))
        z = g.op("MatMul", flat, g.const(normal(120, 3, seed=4)))
        assert assert_same(g, [y, z], tmp_path).facts["transposes"] == 1


def test_flatten_that_others_read_is_transposed(tmp_path: Path) -> None:
    g = Graph()
    flat = g.op("Flatten", conv(g, g.input("x", normal(2, 3, 4, 5)), 3, 6))
    g.op("MatMul", flat, g.const(normal(120, 7)), out="y")
    g.op("Neg", flat, out="z")
    assert assert_same(g, ["y", "z"], tmp_path).facts["transposes"] == 2


def test_convnext_block(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(1, 8, 6, 6))
    h = g.op("Conv", x, g.const(normal(8, 1, 3, 3)), g.const(normal(8)), pads=[1, 1, 1, 1], group=8)
    h = g.op("Transpose", h, perm=[0, 2, 3, 1])
    h = g.op("LayerNormalization", h, g.const(normal(8)), g.const(normal(8)))
    h = g.op("Gelu", g.op("Add", g.op("MatMul", h, g.const(normal(8, 16))), g.const(normal(16))))
    h = g.op("Transpose", g.op("MatMul", h, g.const(normal(16, 8))), perm=[0, 3, 1, 2])
    y = g.op("GlobalAveragePool", g.op("Add", x, g.op("Mul", h, g.const(normal(8, 1, 1)))))
    assert assert_same(g, [y], tmp_path, rtol=1e-4, atol=1e-4).facts["transposes"] == 1


def test_layer_norm_over_channels_of_an_image(tmp_path: Path) -> None:
    g = Graph()
    a = conv(g, g.input("x", normal(1, 3, 6, 6)), 3, 8)
    centred = g.op("Sub", a, g.op("ReduceMean", a, g.const(i64(1)), keepdims=1))
    variance = g.op("ReduceMean", g.op("Mul", centred, centred), g.const(i64(1)), keepdims=1)
    y = g.op("Div", centred, g.op("Sqrt", g.op("Add", variance, g.const(np.float32(1e-5)))))
    y = g.op("Add", g.op("Mul", y, g.const(normal(8, 1, 1))), g.const(normal(1, 8, 1, 1)))
    assert assert_same(g, [y], tmp_path, atol=1e-4).facts["transposes"] == 2


def test_window_partition_and_back(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(1, 8, 8, 6))
    w = g.op("Transpose", g.op("Reshape", x, g.const(i64(1, 2, 4, 2, 4, 6))), perm=[0, 1, 3, 2, 4, 5])
    w = g.op("MatMul", g.op("Reshape", w, g.const(i64(4, 16, 6))), g.const(normal(6, 6)))
    w = g.op("Transpose", g.op("Reshape", w, g.const(i64(1, 2, 2, 4, 4, 6))), perm=[0, 1, 3, 2, 4, 5])
    y = g.op("Reshape", w, g.const(i64(1, 8, 8, 6)))
    assert assert_same(g, [y], tmp_path).facts["transposes"] == 2


def test_transposes_that_cancel_leave_nothing(tmp_path: Path) -> None:
    g = Graph()
    a = g.op("Transpose", g.input("x", normal(2, 3, 4)), perm=[2, 0, 1])
    y = g.op("Transpose", g.op("Relu", a), perm=[1, 2, 0])
    assert assert_same(g, [y], tmp_path).facts["ops"] == {"RELU": 1}


def test_channels_last_source_has_no_transpose(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Transpose", g.input("x", normal(1, 6, 6, 3)), perm=[0, 3, 1, 2])
    y = g.op("Transpose", conv(g, x, 3, 4), perm=[0, 2, 3, 1])
    assert assert_same(g, [y], tmp_path).facts["ops"] == {"CONV_2D": 1}


def test_outputs_that_are_inputs_constants_or_twins(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3))
    g.op("Identity", x, out="same")
    r = g.op("Relu", x, out="r")
    g.op("Identity", r, out="twin")
    g.op("Unsqueeze", r, g.const(i64(0)), out="u")
    assert_same(g, ["same", "r", "twin", "u"], tmp_path)


RANDOM = np.random.default_rng(7)


@pytest.mark.parametrize("seed", range(200))
def test_conversions_reorder_like_numpy(seed: int) -> None:
    """Any layout to any other, simulated step by step."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(d) for d in rng.choice([1, 2, 3], rng.integers(1, 7)))
    x = rng.standard_normal(shape)

    def random_layout() -> tuple[int, ...]:
        axes = [int(a) for a in rng.permutation(len(shape)) if shape[a] > 1 or rng.random() < 0.7]
        for _ in range(rng.integers(0, 3)):
            axes.insert(int(rng.integers(0, len(axes) + 1)), ADDED)
        return tuple(axes)

    def stored(layout: tuple[int, ...]) -> np.ndarray:
        present = [a for a in layout if a != ADDED]
        missing = [a for a in range(len(shape)) if a not in present]
        return x.transpose(present + missing).reshape(stored_shape(shape, layout))

    source, target = random_layout(), random_layout()
    data = stored(source)
    for step in conversion(shape, source, target):
        assert len(data.shape) <= 8
        data = data.transpose(step.argument) if step.code == "TRANSPOSE" else data.reshape(step.argument)
        assert data.shape == step.shape
    np.testing.assert_array_equal(data, stored(target))


@pytest.mark.parametrize("seed", range(200))
def test_reshapes_keep_their_elements_in_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    factors = [int(d) for d in rng.choice([1, 2, 3, 4], 5)]

    def grouped() -> tuple[int, ...]:
        cuts = sorted(rng.choice(6, rng.integers(0, 4)))
        return tuple(int(np.prod(part)) for part in np.split(np.array(factors), cuts))

    shape, out_shape = grouped(), grouped()
    x = rng.standard_normal(shape)
    layout = tuple(int(a) for a in rng.permutation(len(shape)))
    result = reshaped(shape, out_shape, layout)
    if result is None:
        layout = reshapable(shape, out_shape, layout)
        result = reshaped(shape, out_shape, layout)
    assert result is not None
    kept = [a for a in range(len(out_shape)) if out_shape[a] != 1]
    assert sorted(result) == kept
    y = x.reshape(out_shape)
    want = y.transpose([*result, *(a for a in range(len(out_shape)) if a not in result)]).reshape(-1)
    np.testing.assert_array_equal(x.transpose(layout).reshape(-1), want)


def test_transpose_is_a_label() -> None:
    assert transposed(channels_last(4), (0, 2, 3, 1)) == identity(4)
    assert transposed(identity(3), (2, 0, 1)) == (1, 2, 0)
