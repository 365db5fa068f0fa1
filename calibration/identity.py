"""What a graph is, as one number: statistics belong to it, and to no other."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from edgeport.cache import cache_key


def graph_digest(graph: ir.Model) -> str:
    """sha256 of a graph with its weights, in hexadecimal."""
    return cache_key(_parts(graph))


def _parts(graph: ir.Model) -> Iterator[str | bytes]:
    """The graph without its weights, then these one by one: over 2 GB a graph has no single serialized form."""
    bare = graph.clone()
    for name, value in sorted(bare.graph.initializers.items()):
        if value.const_value is not None:
            yield f"{name} {value.const_value.dtype} {value.const_value.shape}"
            yield value.const_value.tobytes()
    bare.graph.initializers.clear()
    yield ir.to_proto(bare).SerializeToString(deterministic=True)
