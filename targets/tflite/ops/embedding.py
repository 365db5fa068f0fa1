"""Rows of a constant table that is stored in fewer bits: EMBEDDING_LOOKUP decodes only the rows that are asked for."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import identity
from edgeport.targets.tflite.ops.elementwise import cast


def is_embedding(ctx: Context, node: ir.Node) -> bool:
    """Whether the plan stores the table of this Gather as integers."""
    return ctx.plan.kernel(node.name).startswith("int8") and node.inputs[0] is not None


def embedding(ctx: Context, node: ir.Node) -> None:
    """Table [rows, width] with one scale a row; the kernel takes a vector of int32 and gives float32."""
    table, ids, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert table is not None
    assert ids is not None
    quant, data = ctx.plan.qparams(table.name), ctx.constant(table)
    assert quant is not None
    assert data is not None
    stored = ctx.builder.constant(f"{table.name}|w", quant.quantize(data), replace(quant, axis=0))
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
