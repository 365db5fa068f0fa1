"""A small transformer encoder, as an ONNX model, and texts for it: the second model of `check_arm.py`."""

from __future__ import annotations

import numpy as np
import onnx

_WIDTH, _HEADS, _LENGTH, _WORDS, _LAYERS = 64, 4, 48, 200, 2


def texts(count: int) -> dict[str, np.ndarray]:
    """Word numbers, int64 (count, length), and masks of the words that are there, float32 (count, length)."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(_LENGTH // 3, _LENGTH + 1, size=(count, 1))
    mask = np.arange(_LENGTH)[None] < lengths
    words = (rng.zipf(1.3, size=(count, _LENGTH)) % _WORDS) * mask
    return {"words": words.astype(np.int64), "mask": mask.astype(np.float32)}


def encoder() -> onnx.ModelProto:
    """Embedding, then layers of self-attention and a GELU network, each behind a residual Add and a normalization."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {
        "table": rng.normal(size=(_WORDS, _WIDTH)),
        "positions": 0.3 * rng.normal(size=(1, _LENGTH, _WIDTH)),
        "gain": np.ones(_WIDTH),
        "shift": np.zeros(_WIDTH),
        "one": np.array(1.0),
        "far": np.array(-1e4),
        "root": np.array((_WIDTH / _HEADS) ** -0.5),
    }
    lines = [
        "absent = Sub(one, mask)", "spread = Unsqueeze(absent, axes)", "bias = Mul(spread, far)",
        "embedded = Gather(table, words)", "x0 = Add(embedded, positions)",
    ]  # fmt: skip
    for i in range(_LAYERS):
        sides = {"q": (_WIDTH, _WIDTH), "k": (_WIDTH, _WIDTH), "v": (_WIDTH, _WIDTH), "o": (_WIDTH, _WIDTH)}
        sides |= {"u": (_WIDTH, 4 * _WIDTH), "d": (4 * _WIDTH, _WIDTH)}
        for name, shape in sides.items():
            weights[f"w{name}{i}"] = rng.normal(size=shape) / np.sqrt(shape[0])
        for name, order in (("q", "0,2,1,3"), ("k", "0,2,3,1"), ("v", "0,2,1,3")):
            lines += [
                f"{name}a{i} = MatMul(x{i}, w{name}{i})", f"{name}b{i} = Reshape({name}a{i}, split)",
                f"{name}{i} = Transpose<perm=[{order}]>({name}b{i})",
            ]  # fmt: skip
        lines += [
            f"raw{i} = MatMul(q{i}, k{i})", f"scaled{i} = Mul(raw{i}, root)", f"scores{i} = Add(scaled{i}, bias)",
            f"share{i} = Softmax<axis=-1>(scores{i})", f"mixed{i} = MatMul(share{i}, v{i})",
            f"back{i} = Transpose<perm=[0,2,1,3]>(mixed{i})", f"flat{i} = Reshape(back{i}, join)",
            f"out{i} = MatMul(flat{i}, wo{i})", f"sum{i} = Add(out{i}, x{i})",
            f"h{i} = LayerNormalization<axis=-1>(sum{i}, gain, shift)", f"up{i} = MatMul(h{i}, wu{i})",
            f"act{i} = Gelu(up{i})", f"down{i} = MatMul(act{i}, wd{i})", f"res{i} = Add(down{i}, h{i})",
            f"x{i + 1} = LayerNormalization<axis=-1>(res{i}, gain, shift)",
        ]  # fmt: skip
    body = "\n".join([*lines, f"y = MatMul(x{_LAYERS}, head)"])
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> encoder '
        f"(int64[1,{_LENGTH}] words, float[1,{_LENGTH}] mask) => (float[1,{_LENGTH},{_WORDS}] y) {{ {body} }}"
    )
    weights["head"] = rng.normal(size=(_WIDTH, _WORDS)) / np.sqrt(_WIDTH)
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    arrays["axes"] = np.array([1, 2])
    arrays["split"] = np.array([1, _LENGTH, _HEADS, _WIDTH // _HEADS])
    arrays["join"] = np.array([1, _LENGTH, _WIDTH])
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model
