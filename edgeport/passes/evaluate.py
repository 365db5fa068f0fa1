"""Computes values that depend on constants only, in ONNX Runtime: the same kernels that give the float reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.onnx_session import open_session, session_options
from edgeport.passes.edit import Array, constant


def evaluate(model: ir.Model, region: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> dict[ir.Value, Array]:
    """Runs nodes whose inputs are constants or each other's outputs.

    Args:
        model: the model they stand in, for its opset imports.
        region: the nodes, in topological order.
        wanted: outputs of these nodes to compute.

    Returns:
        The arrays by value. A value is missing when ONNX Runtime cannot run what it needs: then it is not constant
        as far as the passes are concerned.
    """
    if not region or not wanted:
        return {}
    whole = _run(model, region, wanted)
    if whole is not None:
        return whole
    done: dict[ir.Value, Array] = {}
    for node in region:
        outputs = [output for output in node.outputs if output.name]
        alone = _run(model, [node], outputs, done)
        done.update(alone or {})
    return {value: done[value] for value in wanted if value in done}


def _run(
    model: ir.Model,
    region: Sequence[ir.Node],
    wanted: Sequence[ir.Value],
    known: dict[ir.Value, Array] | None = None,
) -> dict[ir.Value, Array] | None:
    import onnx
    import onnxruntime as ort

    produced = {output for node in region for output in node.outputs}
    tensors: dict[str, onnx.TensorProto] = {}
    for node in region:
        for value in node.inputs:
            if value is None or value in produced or value.name in tensors:
                continue
            array = (known or {}).get(value, constant(value))
            if array is None or value.name is None:
                return None
            tensors[value.name] = ir.serde.serialize_tensor(ir.tensor(array, name=value.name))
    protos = [ir.serde.serialize_node(node) for node in region]
    for proto in protos:
        proto.name = ""  # passes may have left two nodes of one name, which ONNX Runtime refuses
    graph = onnx.helper.make_graph(
        protos,
        "constants",
        [],
        [onnx.helper.make_empty_tensor_value_info(value.name or "") for value in wanted],
        list(tensors.values()),
    )
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    whole = onnx.helper.make_model(graph, opset_imports=imports, ir_version=model.ir_version)
    options = session_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = open_session(whole.SerializeToString(), options)
        arrays = session.run([value.name for value in wanted], {})
    except Exception:  # ONNX Runtime raises many types; whatever it cannot run simply stays in the graph
        return None
    return {value: array for value, array in zip(wanted, arrays, strict=True) if isinstance(array, np.ndarray)}
