"""What exporters note for themselves on nodes and values goes.

    Conv {stack_trace: "File /home/me/model.py, line 12 ..", namespace: ..}      ==>      Conv

Applies to the metadata and documentation strings of graphs, nodes and values, which may hold paths of the exporting
machine and would make two exports of one model differ. The model's own metadata (labels, author, ..) stays.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgeport.passes.registry import register


@register("clear_metadata")
def clear_metadata(model: ir.Model) -> bool:
    """Clears metadata and documentation below the model itself."""
    changed = bool(common.ClearMetadataAndDocStringPass()(model).modified)
    graph = model.graph
    for value in (*graph.inputs, *graph.initializers.values(), *(v for n in graph.all_nodes() for v in n.outputs)):
        changed = changed or bool(value.metadata_props or value.doc_string)
        value.metadata_props.clear()
        value.doc_string = None
    return changed
