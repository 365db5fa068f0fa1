"""Other converters, each in its own virtual environment below benchmarks/.cache/peers, and the files they make.

    python benchmarks/peers.py      makes every peer's files for the MobileNetV2 and says what could not be made

A peer that does not install or does not convert is a `Skipped` with the reason, never an error.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from models import CACHE, INPUT, SPECS, onnx_model, samples

PEERS = CACHE / "peers"
_MINUTES = 10
_PACKAGES = {
    # Its metadata asks for Python 3.12, but its own code runs on 3.11 with byte-identical output.
    "onnx2tf": ["--ignore-requires-python", "onnx2tf==2.6.9"],
    "litert-quantizer": ["litert-quantizer==0.11.0"],
}
_QUANTIZE = Path(__file__).parent / "litert_quantize.py"


@dataclass(frozen=True)
class Skipped:
    """Something that could not be made here, and why."""

    reason: str


Made = Path | Skipped


def onnx2tf_files(model: str, calibration: Path) -> dict[str, Made]:
    """onnx2tf's float file and its int8 files (per tensor: its per-channel files are refused by its own check).

    Args:
        model: a name in `models.SPECS`.
        calibration: folder of .npz files, one image each.
    """
    source = onnx_model(model)
    out = source.parent / f"{model}.onnx2tf"
    files = {
        "onnx2tf f32": out / f"{model}_float32.tflite",
        "onnx2tf int8, float I/O": out / f"{model}_integer_quant.tflite",
        "onnx2tf int8": out / f"{model}_full_integer_quant.tflite",
    }
    reason = ""
    if not all(path.exists() for path in files.values()):
        environment = _environment("onnx2tf")
        if isinstance(environment, Skipped):
            return dict.fromkeys(files, environment)
        out.mkdir(exist_ok=True)
        images = np.concatenate([np.load(path)[INPUT] for path in sorted(calibration.iterdir())])
        np.save(out / "nhwc.npy", images.transpose(0, 2, 3, 1))
        neutral = ["[[[[0.0,0.0,0.0]]]]", "[[[[1.0,1.0,1.0]]]]"]  # mean and deviation: images come normalized
        options = ["-v", "error", "-oiqt", "-qt", "per-tensor", "-cind", INPUT]
        reason = _failure([environment / "onnx2tf", "-i", source, "-o", out, *options, out / "nhwc.npy", *neutral])
        (out / "nhwc.npy").unlink()
    return {name: path if path.exists() else Skipped(f"onnx2tf: {reason}") for name, path in files.items()}


def litert_quantized(float_file: Path, calibration: Path) -> Made:
    """litert-quantizer's static int8 form of any float .tflite, with min-max ranges (its default clips at batch 1)."""
    out = CACHE / "litert-quantizer" / f"{float_file.stem}.{_content(float_file)}.tflite"
    out.parent.mkdir(parents=True, exist_ok=True)
    if not out.exists():
        environment = _environment("litert-quantizer")
        if isinstance(environment, Skipped):
            return environment
        reason = _failure([environment / "python", _QUANTIZE, float_file, calibration, out])
        if not out.exists():
            return Skipped(f"litert-quantizer: {reason}")
    return out


def _environment(name: str) -> Made:
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
            reason = _failure(command)
            if reason:
                return Skipped(f"{name} does not install: {reason}")
        installed.touch()
    return folder / "bin"


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _failure(command: Sequence[Path | str]) -> str:
    """Runs a command; returns "" or the last line of what it said when it failed."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=_MINUTES * 60)
    except subprocess.TimeoutExpired:
        return f"not finished after {_MINUTES} minutes"
    lines = (done.stderr + done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else (lines or [f"exit code {done.returncode}"])[-1].strip()


def main() -> None:
    name = "mobilenetv2"
    calibration = samples(64, SPECS[name].size)
    files = onnx2tf_files(name, calibration)
    float_file = files["onnx2tf f32"]
    if isinstance(float_file, Path):
        files["onnx2tf f32 + litert-quantizer int8"] = litert_quantized(float_file, calibration)
    for label, made in files.items():
        print(f"{label:40} ", f"{made.stat().st_size:,} bytes" if isinstance(made, Path) else f"skipped: {made.reason}")


if __name__ == "__main__":
    main()
