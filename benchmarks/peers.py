"""Other converters, each in its own virtual environment below benchmarks/.cache/peers, and the files they make.

A peer that does not install or does not convert is a `Skipped` with the reason, never an error.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from commands import failure
from models import CACHE

PEERS = CACHE / "peers"
_MINUTES = 10
_PACKAGES = {
    # Its metadata asks for Python 3.12, but its own code runs on 3.11 with byte-identical output.
    "onnx2tf": ["--ignore-requires-python", "onnx2tf==2.6.9"],
    "litert-quantizer": ["litert-quantizer==0.11.0"],
    "litert-torch": ["torch==2.13.0", "litert-torch==0.10.0"],
    "modelopt": ["torch==2.13.0", "nvidia-modelopt[onnx]==0.47.0"],
}
VERSIONS = "onnx2tf 2.6.9, litert-quantizer 0.11.0, litert-torch 0.10.0"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Skipped:
    """Something that could not be made here, and why."""

    reason: str


Made = Path | Skipped


def onnx2tf_float(source: Path) -> Made:
    """onnx2tf's float file of an ONNX file."""
    out = source.parent / f"{source.stem}.onnx2tf"
    path = out / f"{source.stem}_float32.tflite"
    return _onnx2tf(source, out, [path], [])[0]


def onnx2tf_int8(source: Path, calibration: Path) -> dict[str, Made]:
    """onnx2tf's int8 files of a model of images (per tensor: its per-channel files are refused by its own check).

    Args:
        source: ONNX file with one input of shape (1, 3, H, W).
        calibration: folder of .npz files, one image each.
    """
    out = source.parent / f"{source.stem}.onnx2tf-int8"
    files = {
        "onnx2tf int8, float I/O": out / f"{source.stem}_integer_quant.tflite",
        "onnx2tf int8": out / f"{source.stem}_full_integer_quant.tflite",
    }
    arrays = [dict(np.load(path)) for path in sorted(calibration.iterdir())]
    (name,) = arrays[0]
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "nhwc.npy"
        np.save(images, np.concatenate([sample[name] for sample in arrays]).transpose(0, 2, 3, 1))
        neutral = ["[[[[0.0,0.0,0.0]]]]", "[[[[1.0,1.0,1.0]]]]"]  # mean and deviation: images come normalized
        options = ["-oiqt", "-qt", "per-tensor", "-cind", name, images, *neutral]
        made = _onnx2tf(source, out, list(files.values()), options)
    return dict(zip(files, made, strict=True))


def _onnx2tf(source: Path, out: Path, files: Sequence[Path], options: Sequence[Path | str]) -> list[Made]:
    reason = ""
    if not all(path.exists() for path in files):
        made = environment("onnx2tf")
        if isinstance(made, Skipped):
            return [made] * len(files)
        out.mkdir(exist_ok=True)
        reason = failure([made / "onnx2tf", "-i", source, "-o", out, "-v", "error", *options], _MINUTES)
    return [path if path.exists() else Skipped(f"onnx2tf: {reason}") for path in files]


def litert_torch_float(weights: Path, *network: str) -> Made:
    """litert-torch's float file.

    Args:
        weights: the network's state_dict.
        network: what litert_torch_convert.py takes to rebuild it.
    """
    out = weights.with_suffix(".litert_torch.tflite")
    if out.exists():
        return out
    return _converted("litert-torch", _HERE / "litert_torch_convert.py", weights, out, *network)


def litert_quantized(float_file: Path, calibration: Path | None) -> Made:
    """litert-quantizer's int8 form of any float .tflite: static with min-max ranges (its default clips at batch 1), or
    dynamic where there is no calibration data."""
    kind = "dynamic" if calibration is None else "static"
    out = CACHE / "litert-quantizer" / f"{float_file.stem}.{_content(float_file)}.{kind}.tflite"
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        return out
    script = _HERE / "litert_quantize.py"
    return _converted("litert-quantizer", script, float_file, calibration or "dynamic", out)


def _converted(peer: str, script: Path, *arguments: Path | str) -> Made:
    """Runs a script of ours in a peer's environment; one of its arguments is the file that it writes."""
    made = environment(peer)
    if isinstance(made, Skipped):
        return made
    reason = failure([made / "python", script, *arguments], _MINUTES)
    out = next(a for a in reversed(arguments) if isinstance(a, Path) and a.suffix == ".tflite")
    return out if out.exists() else Skipped(f"{peer}: {reason}")


def environment(name: str) -> Made:
    """The bin folder of the peer's own virtual environment, which is made on first use."""
    folder = PEERS / name
    installed = folder / "installed"
    if not installed.exists():
        pip = folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"
        steps: tuple[list[Path | str], ...] = (
            [sys.executable, "-m", "venv", "--clear", folder],
            [*pip, *_PACKAGES[name]],
        )
        for command in steps:
            reason = failure(command, _MINUTES)
            if reason:
                return Skipped(f"{name} does not install: {reason}")
        installed.touch()
    return folder / "bin"


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
