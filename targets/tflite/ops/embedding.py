"""Rows of a constant table that is stored in fewer bits: only the rows that are asked for are decoded."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import identity
from edgeport.targets.tflite.ops.elementwise import cast


def is_embedding(ctx: Context, node: ir.Node) -> bool:
    """Whether the plan stores the table of this Gather as integers or float16."""
    return ctx.plan.kernel(node.name) not in ("float32", "int8")


def embedding(ctx: Context, node: ir.Node) -> None:
    """EMBEDDING_LOOKUP in a table [rows, width] with scales a row or a block of it: int32 vector in, float32 out.

    It would copy float16 rows into its float32 output byte by byte, hence GATHER and DEQUANTIZE for those.
    """
    table, ids, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert table is not None
    assert ids is not None
    quant, data = ctx.plan.qparams(table.name), ctx.constant(table)
    assert data is not None
    if quant is None:
        _halves(ctx, node, table, ids)
        return
    stored = ctx.builder.constant(f"{table.name}|w", quant.quantize(data), quant)
    rows = ctx.read(node, ids)
    if rows.dtype != "int32":
        rows = cast(ctx, y, rows, "int32")
    count = 1
    for size in rows.shape:
        count *= size
    if len(rows.shape) != 1:
        flat = ctx.temporary(y, "ids", (count,), "int32")
        ctx.reshape(rows, flat)
        rows = flat
    if len(ctx.shape(ids)) == 1:
        ctx.emit("EMBEDDING_LOOKUP", [rows, stored], [ctx.output(node, identity(2))])
        return
    found = ctx.temporary(y, "rows", (count, data.shape[1]))
    ctx.emit("EMBEDDING_LOOKUP", [rows, stored], [found])
    ctx.reshape(found, ctx.output(node, identity(ctx.rank(y))))


def _halves(ctx: Context, node: ir.Node, table: ir.Value, ids: ir.Value) -> None:
    data = ctx.constant(table)
    assert data is not None
    stored = ctx.builder.constant(f"{table.name}|w", data.astype(np.float16))
    rows, out = ctx.read(node, ids), ctx.output(node, identity(ctx.rank(node.outputs[0])))
    found = ctx.temporary(node.outputs[0], "rows", out.shape, "float16")
    ctx.emit("GATHER", [stored, rows], [found], "GatherOptions", axis=0, batchDims=0)
    ctx.emit("DEQUANTIZE", [found], [out], "DequantizeOptions")
