"""Exports one model in a process of its own, and says how it ended: correct, refused, or what is wrong.

The reference is ONNX Runtime on the file as it is, without anything of edgeport's; the artifact runs as `artifacts`
opens it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .artifacts import SUFFIXES, open_artifact, toolchain

Array = np.ndarray
_REFUSALS = (2, 3, 4, 6)
"""docs/exit-codes.md: usage, model, drift beyond any budget (NaN where the source has none), calibration data."""
_MEMORY = 12 * 2**30
_SAMPLES, _HELD_OUT = 16, 2
_RELATIVE, _ABSOLUTE = 2e-3, 1e-5
"""Float32 in another order, through networks that damage has made ill-conditioned."""
_GOOD_DB, _SLACK_DB = 20.0, 6.0
"""An int8 file is as good as this, or about as bad as its report says."""


@dataclass(frozen=True)
class Verdict:
    """How a case ended: `correct`, `refused` (why), or a defect: `wrong`, `hang`, `crash`, `traceback`, `unclear`."""

    kind: str
    detail: str = ""

    @property
    def defect(self) -> bool:
        """Whether the exporter is to blame."""
        return self.kind not in ("correct", "refused")


def judge(model: Path, target: str, precision: str, folder: Path, seconds: float) -> Verdict:
    """Exports a model file at a precision, within a time limit, and judges what comes out.

    Args:
        model: the file.
        target: a `--target`.
        precision: a `--precision`.
        folder: an empty folder for everything that is written.
        seconds: limit for each of the two processes.
    """
    log, data, out = folder / "log", folder / "samples.npz", folder / "out"
    words = ["export", model, "--target", target, "--precision", precision, "--out", out]
    ended, text = _in_child(lambda: _write_samples(model, data), log, seconds)
    if data.exists():
        words += ["--calib", data, "--allow-suspicious-data"]
    elif precision == "int8":
        _sample_without_model(data)
        words += ["--calib", data, "--allow-suspicious-data"]
    ended, text = _in_child(lambda: _export([str(word) for word in words]), log, seconds)
    if ended is None:
        return Verdict("hang", f"not finished after {seconds:.0f} s")
    if ended < 0:
        return Verdict("crash", f"{signal.Signals(-ended).name} {text[-200:]}")
    lines = text.splitlines()
    if "Traceback" in text or ended == 1:
        return Verdict("traceback", next((line for line in lines if "internal error" in line), text[-300:]))
    said = [i for i, line in enumerate(lines) if line.startswith("edgeport: ")]
    if ended in _REFUSALS:
        if len(said) != 1 or not all(line.startswith("  ") for line in lines[said[0] + 1 :]) or said[0] != 0:
            return Verdict("unclear", f"exit code {ended}, stderr: {text[:400]!r}")
        return Verdict("refused", f"{ended}: {lines[0]}")
    if ended:
        return Verdict("unclear", f"exit code {ended}: {text[:300]!r}")
    artifact = out / target / f"{model.stem}{SUFFIXES[target]}"
    report = json.loads((out / "report.json").read_text())
    found = folder / "verdict"
    ended, text = _in_child(lambda: _compare(model, target, artifact, report, precision, data, found), log, seconds)
    if ended != 0 or not found.exists():
        return Verdict("wrong", f"the comparison ended with {ended}: {text[-300:]}")
    detail = found.read_text()
    return Verdict("wrong", detail) if detail else Verdict("correct")


def preload(target: str) -> None:
    """Imports what the children need, so that a fork is cheap. No session is opened: threads do not survive a fork."""
    for name in (toolchain(target), "onnxruntime", "edgeport.exporting", f"edgeport.targets.{target}.target"):
        importlib.import_module(name)


def _in_child(job: Callable[[], int], log: Path, seconds: float) -> tuple[int | None, str]:
    """Exit code (negative: the signal; None: out of time) and stderr of a job in a forked process."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            with open(log, "wb", buffering=0) as file, open(os.devnull, "wb") as null:
                os.dup2(file.fileno(), 2)
                os.dup2(null.fileno(), 1)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # whoever imports this may have replaced them
            code = job()
        except BaseException as error:
            os.write(2, f"Traceback: {type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), log.read_text(errors="replace") if log.exists() else ""
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, ""
        time.sleep(0.01)


def _export(words: list[str]) -> int:
    from edgeport.cli.main import run

    return run(words)


def _session(model: Path) -> Any:
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    wrong = ["Pad_Fusion"]  # moves zeros into a MaxPool, which pads with minus infinity
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"], disabled_optimizers=wrong)


_NUMPY = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"}


def _dtype(value: Any) -> np.dtype:
    """Element type of an input of a session."""
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    return np.dtype(_NUMPY.get(kind, kind))


def _write_samples(model: Path, path: Path) -> int:
    """Samples for the inputs of the model, if ONNX Runtime loads it."""
    try:
        inputs = _session(model).get_inputs()
    except Exception:
        return 0
    rng, arrays = np.random.default_rng(0), {}
    for value in inputs:
        dtype = _dtype(value)
        shape = [d if isinstance(d, int) else 1 for d in value.shape]
        if not shape or np.prod(shape, dtype=float) > 2**22 or min(shape) < 0:
            return 0
        shape = [_SAMPLES * shape[0], *shape[1:]]
        values = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2 if dtype.kind == "b" else 5, shape)
        arrays[value.name] = values.astype(dtype)
    if arrays:
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    return 0


def _sample_without_model(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, input=np.zeros((_SAMPLES, 4), np.float32))


def _compare(
    model: Path, target: str, artifact: Path, report: Mapping[str, Any], precision: str, data: Path, verdict: Path
) -> int:
    """Writes what is wrong with the artifact, "" if nothing."""
    verdict.write_text(_problem(model, target, artifact, report, precision, data))
    return 0


def _problem(model: Path, target: str, artifact: Path, report: Mapping[str, Any], precision: str, data: Path) -> str:
    try:
        session = _session(model)
    except Exception as error:
        return f"ONNX Runtime refuses the model: {' '.join(str(error).split())[:300]}"
    opened = open_artifact(target, artifact)
    expected = [value.name for value in session.get_inputs()]
    if set(opened.inputs) != set(expected):
        return f"inputs {sorted(opened.inputs)} instead of {sorted(expected)}"
    names = [value.name for value in session.get_outputs()]
    given = dict(np.load(data)) if data.exists() else {}
    reported = _reported(report)
    signal_, noise = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for index in range(_SAMPLES - _HELD_OUT, _SAMPLES):
        rng = np.random.default_rng(index)
        sample = {
            v.name: _sample(given.get(v.name), v, opened.inputs[v.name][0], index, rng) for v in session.get_inputs()
        }
        try:
            want = dict(zip(names, session.run(None, sample), strict=True))
        except Exception as error:
            return f"ONNX Runtime cannot run the model: {' '.join(str(error).split())[:300]}"
        got = opened.run({name: sample[name].astype(dtype) for name, (_, dtype) in opened.inputs.items()})
        if set(got) != set(names):
            return f"outputs {sorted(got)} instead of {names}"
        for name, array in want.items():
            problem = _difference(array, got[name], precision == "fp32", opened.core_ml)
            if problem:
                return f"output {name!r}: {problem}"
            if np.issubdtype(array.dtype, np.floating):
                finite = np.isfinite(array)
                signal_[name] += float((array[finite].astype(np.float64) ** 2).sum())
                noise[name] += float(((array - got[name].reshape(array.shape))[finite].astype(np.float64) ** 2).sum())
    for name in names:
        db = 10 * np.log10(signal_[name] / noise[name]) if noise[name] and signal_[name] else np.inf
        if precision != "fp32" and db < min(_GOOD_DB, reported.get(name, -np.inf) - _SLACK_DB):
            return f"output {name!r}: {db:.1f} dB, its report says {reported.get(name)}"
    return ""


def _reported(report: Mapping[str, Any]) -> dict[str, float]:
    ladder = report["targets"][0]["ladder"]
    total = next((rung for rung in ladder["rungs"] if rung["name"] == "total"), None) if ladder else None
    outputs = total["outputs"] if total else []
    return {o["output"]: o["sqnr_db"] for o in outputs if o["sqnr_db"] is not None}


def _sample(given: Array | None, value: Any, shape: tuple[int, ...], index: int, rng: np.random.Generator) -> Array:
    dtype = _dtype(value)
    if given is not None and shape and given.shape == (_SAMPLES * shape[0], *shape[1:]) and given.dtype == dtype:
        return given[index * shape[0] : (index + 1) * shape[0]]
    return (rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)


def _difference(want: Array, got: Array, exact: bool, core_ml: bool) -> str:
    if core_ml and want.dtype.kind in "iub" and got.dtype == np.int32:
        got = got.astype(want.dtype)
    if core_ml and not want.ndim and got.shape == (1,):
        got = got[0]
    if got.dtype != want.dtype and not (want.dtype.kind == "f" and got.dtype == np.float32):
        return f"is {got.dtype} instead of {want.dtype}"
    if got.shape != want.shape:
        return f"has shape {list(got.shape)} instead of {list(want.shape)}"
    if not exact or not want.size:
        return ""
    if want.dtype.kind != "f":
        wrong = int((want != got).sum())
        return f"differs in {wrong} of {want.size}" if wrong else ""
    a, b = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)):
        return f"has {int((~np.isfinite(b)).sum())} values that are not finite instead of {int((~finite).sum())}"
    error = float(np.abs(a - b)[finite].max(initial=0.0))
    scale = float(np.abs(a)[finite].max(initial=0.0))
    return f"differs by {error:.3g} at magnitude {scale:.3g}" if error > _RELATIVE * scale + _ABSOLUTE else ""
