"""The float graph that goes with a calibration cache: its tensors have the names that TensorRT's parser gives them."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.pipeline import rewritten
from edgeport.targets.tensorrt.board import Board
from edgeport.targets.tensorrt.forms import in_own_forms

CACHE_FORMS: tuple[str, ...] = (
    "dense_as_convolution",
    "convolve_in_2d",
    "scale_as_batch_norm",
    "full_rank_constants",
)
"""Passes after which the parser makes no tensor but those of the graph and its constants, as far as can be."""


def in_cache_form(model: ir.Model, board: Board) -> ir.Model:
    """A copy of the canonical graph in the board's own forms and those of `CACHE_FORMS`.

    A scale that is missing keeps the layers around it in float, and names that the parser makes up (of a Gemm's
    constants, of an axis it adds) differ from one TensorRT to the next.
    """
    return rewritten(in_own_forms(model, board), CACHE_FORMS)
