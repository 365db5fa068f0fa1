"""Any ONNX model, quantized by whatever tool or not at all, against TensorRT's rules.

The rules of quantization are in `rules/`; what they rest on is NVIDIA's documentation, the sources of its ONNX parser,
and what that parser did with models that break them. Operators that a board's parser lacks are in `limits.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.inline_functions import inline_functions
from edgeport.passes.lift_constants import lift_constants
from edgeport.targets.tensorrt import oracle
from edgeport.targets.tensorrt.board import Board, remarks_on_board
from edgeport.targets.tensorrt.limits import objections
from edgeport.targets.tensorrt.rules.reading import Reading
from edgeport.targets.tensorrt.rules.registry import broken


def lint(model: ir.Model, board: Board) -> list[Finding]:
    """Every place where a model breaks a rule of quantization, in the order of the rules.

    Args:
        model: any ONNX model in any opset; it is not changed. Nodes should have names.
        board: where it is to run.

    Raises:
        ModelError: the model's own functions call each other in a circle.
    """
    return broken(Reading(_plain(model), board))


def lint_file(model: ir.Model, path: Path, board: Board) -> list[Finding]:
    """As `lint`, and every node that the board's parser does not take, and what NVIDIA's own parser says if it is here.

    Args:
        model: what is in the file; it is not changed.
        path: the file, for NVIDIA's parser.
        board: where it is to run.

    Raises:
        ModelError: as `lint`.
    """
    plain = _plain(model)
    reading = Reading(plain, board)
    found = broken(reading)
    known = {finding.node for finding in found if finding.severity == "error"}
    known |= {q.node.name for q in reading.quantizers}  # the rules know more of them
    objected = [_or_plugin(one) for one in objections(plain, board) if one.node not in known]
    return [*remarks_on_board(board), *found, *objected, *_opinion(path)]


def _or_plugin(objection: Finding) -> Finding:
    """The parser looks for an operator that it does not import among the plugins that are loaded, by its name alone."""
    name = objection.op or ""
    if objection.code != "unsupported-op" or not (name.endswith("_TRT") or "Plugin" in name):
        return objection
    message = f"{name} is no operator but a plugin: an engine is built only where a library that has it is loaded"
    hint = "if it is not NVIDIA's own, load it with trtexec --plugins (from TensorRT 8.6 on --staticPlugins)"
    return Finding("warning", "trt-plugin", message, objection.node, objection.op, hint)


def _opinion(path: Path) -> Sequence[Finding]:
    if not oracle.installed():
        return ()
    said = oracle.parse(path)
    taken = Finding("info", "tensorrt-takes", "NVIDIA's ONNX parser takes the file")
    return said if any(finding.code != "tensorrt-warns" for finding in said) else (*said, taken)


def _plain(model: ir.Model) -> ir.Model:
    """A copy as the parser sees it: without functions, constants as initializers, with shapes where they follow."""
    copy = model.clone()
    inline_functions(copy)
    lift_constants(copy)
    infer_shapes(copy)
    return copy
