"""ONNX Runtime Web as a second runtime, for the profile of browsers: the same file on WebAssembly, run by node."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.findings import Finding
from edgeport.sample import Array, Sample
from edgeport.validate.second import SecondRun

PACKAGE = "onnxruntime-web"
_SCRIPT = Path(__file__).with_name("web.mjs")
_SECONDS = 300


@dataclass(frozen=True)
class WebRunner:
    """A `SecondRunner` over an .onnx file.

    Args:
        path: the file.
        folder: where `npm install onnxruntime-web` was run, or a folder below it.
    """

    path: Path
    folder: Path
    samples: int = 4
    name: str = "onnxruntime-web (wasm)"

    def run_all(self, samples: Sequence[Sample]) -> SecondRun | Finding:
        """Runs samples in a process of its own; a finding where node or the package is missing, or the file fails."""
        node = shutil.which("node")
        if node is None:
            return _not_run("node is not installed")
        if not any((place / "node_modules" / PACKAGE).is_dir() for place in (self.folder, *self.folder.parents)):
            return _not_run(f"there is no node_modules/{PACKAGE} here or above")
        with tempfile.TemporaryDirectory(prefix="edgeport-") as name:
            given, made = Path(name) / "inputs.json", Path(name) / "outputs.json"
            feeds = [{key: _plain(np.asarray(array)) for key, array in sample.items()} for sample in samples]
            given.write_text(json.dumps(feeds), encoding="utf-8")
            command = [node, str(_SCRIPT), str(self.folder), str(self.path.resolve()), str(given), str(made)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                return _not_run(f"it was not finished with {len(samples)} samples after {_SECONDS} s")
            if done.returncode or not made.exists():
                lines = [line.strip() for line in done.stderr.splitlines() if "Error" in line]
                return _not_run(lines[0][:300] if lines else f"node ended with exit code {done.returncode}")
            found = json.loads(made.read_text(encoding="utf-8"))
        outputs = tuple({key: _array(one) for key, one in sample.items()} for sample in found["outputs"])
        return SecondRun(outputs, {"version": found["version"]})


def _plain(array: Array) -> dict[str, Any]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {"type": array.dtype.name, "dims": list(array.shape), "data": data}


def _array(one: Mapping[str, Any]) -> Array:
    flat = np.frombuffer(base64.b64decode(one["data"]), np.dtype(one["type"]))
    return flat.reshape([int(size) for size in one["dims"]])


def _not_run(why: str) -> Finding:
    message = f"the file was not run in {PACKAGE}: {why}"
    return Finding("info", "not-run-in-browser", message, hint=f"npm install {PACKAGE}, and export from that folder")
