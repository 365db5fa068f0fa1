"""tflite-micro as a second runtime: does the file run on microcontrollers, in how much memory, and how close is it?

Its kernels are the reference ones, in fixed-point arithmetic; LiteRT's XNNPACK rescales in float. A few results differ
by the last integer step.
"""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from edgeport.findings import Finding
from edgeport.sample import Array, Sample
from edgeport.targets.tflite.runner import LiteRtRunner
from edgeport.validate.second import SecondRun

_WORKER = Path(__file__).with_name("micro_worker.py")
_SECONDS = 300
_LARGEST = 16 * 2**20
"""Bytes of a file beyond which no microcontroller is meant."""


def micro_runner(path: Path, first: LiteRtRunner) -> MicroRunner | None:
    """The runner for a file, None where tflite-micro is not installed or the file is far too large for it."""
    if importlib.util.find_spec("tflite_micro") is None or path.stat().st_size > _LARGEST:
        return None
    return MicroRunner(path, first)


@dataclass(frozen=True)
class MicroRunner:
    """A `SecondRunner` over a .tflite file.

    Args:
        path: the file.
        first: LiteRT's runner of it, which knows how named arrays become the file's tensors and back.
    """

    path: Path
    first: LiteRtRunner
    samples: int = 4

    @property
    def name(self) -> str:
        """The runtime and its version."""
        return f"tflite-micro {metadata.version('tflite-micro')}"

    def run_all(self, samples: Sequence[Sample]) -> SecondRun | Finding:
        """Runs samples in a process of its own; `arena_bytes` is the memory for tensors and the interpreter's data."""
        feeds = [self.first.stored_inputs(sample) for sample in samples]
        outputs = len(self.first.outputs)
        arrays: dict[str, Array] = {f"{s}/{i}": a for s, feed in enumerate(feeds) for i, a in enumerate(feed)}
        arrays["counts"] = np.asarray([len(feeds), len(feeds[0]), outputs])
        with tempfile.TemporaryDirectory(prefix="edgeport-") as name:
            given, made = Path(name) / "inputs.npz", Path(name) / "outputs.npz"
            np.savez(given, **arrays)  # type: ignore[arg-type]
            command = [sys.executable, str(_WORKER), str(self.path), str(given), str(made)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                return _failed(f"it was not finished with {len(samples)} samples after {_SECONDS} s")
            if done.returncode or not made.exists():
                return _reason(done.returncode, done.stderr)
            with np.load(made) as loaded:
                raw = [[loaded[f"{s}/{o}"] for o in range(outputs)] for s in range(len(samples))]
        arena = re.search(r"Arena allocation total (\d+) bytes", done.stderr)
        facts = {"arena_bytes": int(arena[1])} if arena else {}
        return SecondRun(tuple(self.first.named_outputs(arrays) for arrays in raw), facts)


def _reason(code: int, said: str) -> Finding:
    missing = re.search(r"Didn't find op for builtin opcode '([^']*)'", said)
    if missing:
        return Finding(
            "info",
            "not-on-tflite-micro",
            f"tflite-micro has no operator {missing[1]}, so the file does not run on microcontrollers",
            op=missing[1],
            hint="ignore this for phones; for microcontrollers use another operator, or --scheme full-integer",
        )
    if code < 0:
        return _failed(f"it ended with {signal.Signals(-code).name}")
    node = re.search(r"Node (\S+) \(number \d+\) failed to (\w+)", said)
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(("Traceback", " "))]
    detail = " ".join(lines[-4:])[:300] or f"exit code {code}"
    return _failed(f"{node[1]} fails to {node[2]}: {detail}" if node else detail, node[1] if node else None)


def _failed(why: str, op: str | None = None) -> Finding:
    message = f"tflite-micro does not run the file: {why}"
    return Finding("info", "not-on-tflite-micro", message, op=op, hint="ignore this unless microcontrollers are meant")
