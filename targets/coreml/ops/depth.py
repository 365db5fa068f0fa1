"""Channels to pixels and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers


@lowers("DepthToSpace", attributes=("blocksize", "mode"))
def depth_to_space(ctx: Context, node: ir.Node) -> None:
    """`depth_to_space` for mode DCR, `pixel_shuffle` for CRD."""
    mode, block = get_str(node, "mode", "DCR"), get_int(node, "blocksize", 1)
    if mode not in ("DCR", "CRD"):
        raise Refused(f"mode {mode!r} is unknown")
    if mode == "DCR":
        _moved(ctx, node, "depth_to_space", block_size=np.int32(block))
    else:
        _moved(ctx, node, "pixel_shuffle", upscale_factor=np.int32(block))


@lowers("SpaceToDepth", attributes=("blocksize",))
def space_to_depth(ctx: Context, node: ir.Node) -> None:
    """`space_to_depth`, which counts rows and columns of a block before its channels, as ONNX does."""
    _moved(ctx, node, "space_to_depth", block_size=np.int32(get_int(node, "blocksize", 1)))


def _moved(ctx: Context, node: ir.Node, kind: str, **facts: Any) -> None:
    data: Var = ctx.read(node.inputs[0])
    if any(f == 1 for f in facts.values()):
        ctx.bind(node.outputs[0], data)
        return
    if not mil.dtype_of(data).startswith("float"):
        raise Refused("of integers and booleans it is not supported", "cast to float32 around it")
    ctx.bind(node.outputs[0], ctx.emit(kind, x=data, **facts))
