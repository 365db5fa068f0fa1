"""The files that `check_arm.py` compares: examples/fashion_mnist's CNN, and a small transformer encoder made here."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from safetensors.numpy import load_file

from edgeport import api
from edgeport.config import load_config
from edgeport.datasets import open_source
from edgeport.preparation import prepare

_EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist"
_INPUTS = 8
_WIDTH, _HEADS, _LENGTH, _WORDS, _LAYERS = 64, 4, 48, 200, 2


@dataclass(frozen=True)
class Emitted:
    """A file to compare: its name without the ending, and the least SQNR in dB between two CPUs; None: equal bytes."""

    name: str
    least_db: float | None


# Integers are the same everywhere. Float kernels sum in another order: float32 keeps 24 bits (144 dB), and a network
# loses some of them. Where float islands feed integers, a last bit may turn a rounding, which is 1 of 255 steps in few
# elements: seen are 50 dB and more. Dynamic int8 chooses its scales at run time from such floats.
FILES = (
    Emitted("cnn_int8", None),
    Emitted("cnn_fp32", 100.0),
    Emitted("encoder_fp32", 100.0),
    Emitted("encoder_int8", 40.0),
    Emitted("encoder_int8-dynamic", 40.0),
)


def emit_files(folder: Path, scratch: Path) -> tuple[Emitted, ...]:
    """Exports every file into `folder`, with inputs in an .npz file beside it (INDEX/NAME -> array)."""
    encoder, samples = scratch / "encoder.onnx", scratch / "samples.npz"
    onnx.save(_encoder(), encoder)
    np.savez(samples, **_texts(24))
    texts = [{name: array[i : i + 1] for name, array in _texts(_INPUTS).items()} for i in range(_INPUTS)]
    example = load_config(_EXAMPLE / "edgeport.toml")
    prepared = prepare(example.source)
    images = list(open_source(prepared, example.data, example.preprocessing, None).read(0, _INPUTS))
    for file in FILES:
        model, precision = file.name.split("_")
        out = scratch / file.name
        if model == "cnn":
            result = api.export(
                example.source, precision=precision, calib=example.calib, data=example.data,
                preprocessing=example.preprocessing, out=out,
            )  # fmt: skip
        else:
            result = api.export(encoder, precision=precision, calib=samples, out=out, allow_suspicious_data=True)
        shutil.copyfile(result.artifacts["tflite"], folder / f"{file.name}.tflite")
        inputs = images if model == "cnn" else texts
        np.savez(folder / f"{file.name}.npz", **_numbered(inputs))
    return FILES


def copy_exported(artifact: Path, folder: Path) -> Emitted:
    """Takes a file that `edgeport export` wrote, with its golden inputs; allowed is what turned roundings cost."""
    golden = load_file(golden_of(artifact))
    inputs = {key.removeprefix("input/"): array for key, array in golden.items() if key.startswith("input/")}
    shutil.copyfile(artifact, folder / artifact.name)
    np.savez(folder / f"{artifact.stem}.npz", **inputs)
    return Emitted(artifact.stem, 40.0)


def golden_of(artifact: Path) -> Path:
    """Where an export puts the golden inputs of a file."""
    return artifact.parent / "golden" / "golden.safetensors"


def _numbered(samples: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {f"{i}/{name}": array for i, sample in enumerate(samples) for name, array in sample.items()}


def _texts(count: int) -> dict[str, np.ndarray]:
    """Word numbers, int64 (count, length), and masks of the words that are there, float32 (count, length)."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(_LENGTH // 3, _LENGTH + 1, size=(count, 1))
    mask = np.arange(_LENGTH)[None] < lengths
    words = (rng.zipf(1.3, size=(count, _LENGTH)) % _WORDS) * mask
    return {"words": words.astype(np.int64), "mask": mask.astype(np.float32)}


def _encoder() -> onnx.ModelProto:
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
