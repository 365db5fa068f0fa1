"""Files for phones of PyTorch's tools, ONNX Runtime's and ours, each made in a process of its own.

Peers' files are made once and kept, with what making them took; ours are made anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from exports import target_file
from mobile_models import Model
from models import CACHE
from peers import Skipped
from processes import Spent, spent

FX, PT2E, ORT, OURS = "torch FX", "pt2e", "ONNX Runtime's", "edgeport"
TARGETS = ("qnnpack", "executorch", "onnxruntime")
_HERE = Path(__file__).parent
_FOLDER = CACHE / "mobile-peers"


@dataclass(frozen=True)
class Tool:
    """A tool with its settings: its label's beginning and rest, the target it makes a file for, and the precision."""

    maker: str
    settings: str
    target: str
    precision: str

    @property
    def label(self) -> str:
        return f"{self.maker} {self.settings}".strip()


@dataclass(frozen=True)
class File:
    """What a tool made and what that took; a file that was there before took nothing."""

    path: Path
    spent: Spent | None


def files(model: Model) -> dict[Tool, File | Skipped]:
    """Every tool's file of a model, or why there is none."""
    found: dict[Tool, File | Skipped] = {Tool("source", "float", "onnxruntime", "fp32"): File(model.source, None)}
    for target in TARGETS:
        for precision in ("fp32", "int8") if target != "qnnpack" else ("int8",):
            found[Tool(OURS, f"{target} {precision}", target, precision)] = _ours(model, target, precision)
    torch_arguments: list[Path | str] = [model.weights, *model.network]
    for what in ("tensor", "channel", "contiguous" if model.name == "CNN" else "linear"):
        made = _peer(model, "fx_quantize.py", (what,), ".ptl", torch_arguments)
        found[Tool(FX, _WORDS[what], "qnnpack", "int8")] = made
    for what in ("float", "all") if model.name == "CNN" else ("float", "all", "linear"):
        precision = "fp32" if what == "float" else "int8"
        made = _peer(model, "pt2e_quantize.py", (what,), ".pte", torch_arguments)
        found[Tool(PT2E, _WORDS[what], "executorch", precision)] = made
    for method in ("MinMax", "Percentile"):
        for what in ("all", "products"):
            made = _peer(model, "ort_quantize.py", (method, what), ".onnx", (model.source,))
            found[Tool(ORT, f"{_WORDS[what]}, {method}", "onnxruntime", "int8")] = made
    return found


_WORDS = {
    "tensor": "int8, a scale per tensor",
    "channel": "int8, a scale per channel",
    "contiguous": "int8, a scale per channel, ReLU6 mended",
    "linear": "int8, linear layers only",
    "float": "float",
    "all": "int8, everything",
    "products": "int8, products only",
}


def _ours(model: Model, target: str, precision: str) -> File | Skipped:
    try:
        return File(*target_file(target, model.source, precision, model.calibration if precision == "int8" else None))
    except RuntimeError as error:
        return Skipped(str(error))


def _peer(model: Model, script: str, how: Sequence[str], suffix: str, what: Sequence[Path | str]) -> File | Skipped:
    """Runs one of the scripts: how, calibration samples, file to write, what to quantize."""
    path = _HERE / script
    key = hashlib.sha256(path.read_bytes() + model.source.read_bytes()).hexdigest()[:12]
    out = _FOLDER / key / f"{model.name}-{'-'.join(how)}{suffix}"
    out.parent.mkdir(parents=True, exist_ok=True)
    took = out.with_suffix(".json")
    if not took.exists():
        try:
            figures = spent([sys.executable, path, *how, model.calibration, out, *what])
        except RuntimeError as error:
            return Skipped(str(error))
        took.write_text(json.dumps(asdict(figures)))
    return File(out, Spent(**json.loads(took.read_text())))
