"""The runtimes that `check_arm.py` runs on ARM: which files, which wheels for aarch64, which cores."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from arm_machine import PYTHON, Core, Unavailable
from commands import failure

_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_NUMPY = ("numpy==2.4.6",)
# torch 2.10 is the last release whose aarch64 wheel on PyPI is for CPUs only, and it is built without FBGEMM, as the
# libraries for phones are: it rounds as they do. ExecuTorch 1.1 is the one that was built with it.
_TORCH = ("torch==2.10.0", "typing_extensions==4.16.0")
_EXECUTORCH = ("executorch==1.1.0",)
_UNUSED = ("torch/include", "torch/test")
_MINUTES = 15


@dataclass(frozen=True)
class Runtime:
    """One runtime: the target whose files it runs, and what it needs on ARM.

    Attributes:
        target: the target's name.
        suffixes: of its files.
        wheels: groups of pip requirements, each unpacked into a folder of its own; without a version it is this
            Python's, so that both machines run the same release. What the wheels need is listed, not resolved: pip
            would take the dependencies of x86-64.
        feature: what tells the cores that the wheels take from older ones, "" where any will do.
        least_db: the least SQNR, beside x86-64, of a file of which only the target is known.
        by_name: whether files name their inputs.
    """

    target: str
    suffixes: tuple[str, ...]
    wheels: tuple[tuple[str, ...], ...]
    least_db: float
    feature: str = ""
    by_name: bool = True

    def lacking(self, core: Core) -> bool:
        """Whether the core is too old for the wheels."""
        return bool(self.feature) and self.feature not in core.features.split()


# torch's wheel ends in an illegal instruction on a Cortex-A53 or A72, which have ARMv8.0 only.
RUNTIMES = (
    Runtime("tflite", (".tflite",), (_NUMPY, ("ai-edge-litert",)), 40.0),
    Runtime("onnxruntime", (".onnx", ".ort"), (_NUMPY, ("onnxruntime",)), 34.0),
    Runtime("executorch", (".pte",), (_NUMPY, _TORCH, _EXECUTORCH), 34.0, "atomics", by_name=False),
    Runtime("qnnpack", (".ptl",), (_NUMPY, _TORCH), 34.0, "atomics", by_name=False),
)


def packages(cache: Path, runtime: Runtime) -> list[Path]:
    """The folders of the runtime's packages for ARM, filled on first use.

    Raises:
        Unavailable: a wheel cannot be had.
    """
    return [_unpacked(cache, tuple(map(_pinned, group))) for group in runtime.wheels]


def _pinned(requirement: str) -> str:
    if "==" in requirement:
        return requirement
    try:
        return f"{requirement}=={version(requirement)}"
    except PackageNotFoundError:
        raise Unavailable(f"{requirement} is not installed here, and its files are compared with it") from None


def _unpacked(cache: Path, requirements: tuple[str, ...]) -> Path:
    folder = cache / requirements[0].replace("==", "-")
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--only-binary=:all:"]
    pip += [f"--platform={name}" for name in _PLATFORMS] + [f"--python-version={PYTHON}", "--no-deps"]
    reason = failure([*pip, f"--target={partial}", *requirements], _MINUTES)
    if reason:
        raise Unavailable(f"{' '.join(requirements)} for aarch64: {reason}")
    for name in _UNUSED:
        shutil.rmtree(partial / name, ignore_errors=True)
    partial.rename(folder)
    return folder
