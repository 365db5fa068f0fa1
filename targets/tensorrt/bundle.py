"""What goes to the board beside the models: the scripts, and bundle.json, which tells them what the folder holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from edgeport.quantize.plan import Plan
from edgeport.targets.registry import load_profile, profile_names
from edgeport.targets.tensorrt.board import Board

SCHEMA_VERSION = 1
_SCRIPTS = Path(__file__).parent / "scripts"
_LEAST_DB = {"fp16": 34.0}
"""At least so near to the float model is always near enough. Float16 has 11 bits, of which a deep network's sums lose
more on a board, where they may be kept in float16, than here, where they are not."""
_USUAL_LEAST_DB = 40.0
_MARGIN_DB = 6.0
"""How much farther from the float model than here an engine may be: twice the noise's amplitude. Fused kernels round at
other places than the file says."""
_MARGIN_EQUAL = 0.02
"""The share of integer elements (labels, positions of the largest) that may differ more than here."""


def write_bundle(
    graph: ir.Model,
    plan: Plan,
    board: Board,
    out: Path,
    name: str,
    models: Mapping[str, Sequence[Path]],
    cache: Path | None = None,
) -> tuple[Path, ...]:
    """Writes the scripts and bundle.json into the folder of the models.

    Args:
        graph: the canonical graph, whose inputs and outputs the models have.
        plan: what the models were made after.
        board: where they are to run.
        out: the folder.
        name: of the model.
        models: precision -> its ONNX file, and the file of its constants where there is one; all in the folder.
        cache: the calibration cache, if there is one.

    Returns:
        The files written.
    """
    held = sorted({path for paths in models.values() for path in paths} | ({cache} if cache is not None else set()))
    facts = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "precision": plan.precision,
        **_board_facts(board),
        "lacks": dict(plan.device.get("lacks", {})),
        "models": {precision: [path.name for path in models[precision]] for precision in sorted(models)},
        "quantized": [precision for precision in sorted(models) if _has_qdq(models[precision][0])],
        "cache": None if cache is None else cache.name,
        "inputs": _ends(graph.graph.inputs),
        "outputs": _ends(graph.graph.outputs),
        "verify": {
            "margin_db": _MARGIN_DB,
            "least_db": _LEAST_DB.get(plan.precision, _USUAL_LEAST_DB),
            "margin_equal": _MARGIN_EQUAL,
        },
        "files": [{"path": path.name, "sha256": _sha256(path)} for path in held],
        "boards": _known_boards(),
    }
    manifest = out / "bundle.json"
    manifest.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return (manifest, *_copied_scripts(out))


def _board_facts(board: Board) -> dict[str, Any]:
    return {
        "profile": board.name,
        "device": board.device,
        "sm": board.sm,
        "jetpack": list(board.jetpack),
        "tensorrt": [str(board.oldest), str(board.newest)],
        "dialect": board.dialect,
        "precisions": list(board.precisions),
        "dla": board.dla,
    }


def _known_boards() -> list[dict[str, Any]]:
    """How the boards of all profiles are recognized, so that a refusal names the one to export with."""
    profiles = [profile for profile in map(load_profile, profile_names()) if "recognize" in profile.facts]
    return [{"profile": p.name, "device": p.facts["device"], **p.facts["recognize"]} for p in profiles]


def _ends(values: Iterable[ir.Value]) -> list[dict[str, Any]]:
    return [
        {
            "name": value.name,
            "dtype": None if value.dtype is None else str(value.dtype.numpy()),
            "shape": None if value.shape is None else [n if isinstance(n, int) else str(n) for n in value.shape],
        }
        for value in values
    ]


def _has_qdq(path: Path) -> bool:
    """Whether the file says what computes in integers; without that, trtexec --int8 would make ranges up."""
    model = onnx.load(path, load_external_data=False)
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copied_scripts(out: Path) -> tuple[Path, ...]:
    """The scripts with the same permissions wherever they come from: what is installed may not be executable."""
    written = []
    for script in sorted(path for path in _SCRIPTS.iterdir() if path.suffix in (".sh", ".py")):
        copy = out / script.name
        copy.write_bytes(script.read_bytes())
        copy.chmod(0o755 if script.suffix == ".sh" else 0o644)
        written.append(copy)
    return tuple(written)
