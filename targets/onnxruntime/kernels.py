"""What ONNX Runtime makes of a file: which kernels run, and where Q/DQ stand around a float operator instead."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.onnx_session import open_session, session_options
from edgeport.validate.onnx_runner import one_line

_SHOWN = 3
_NCHWC = "com.microsoft.nchwc"
_NOTHING_LOST = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Kernels:
    """What was found.

    Attributes:
        counts: operator -> how many of them run, as on this machine.
        unfused: names of operators that should run in integers and do not.
    """

    counts: Mapping[str, int]
    unfused: tuple[str, ...]


def kernels_of(path: Path, planned: Collection[str]) -> Kernels:
    """Loads a file as an app does and looks at the graph that ONNX Runtime then runs.

    Args:
        path: the file.
        planned: names of the nodes that are to run in integers.

    Raises:
        ModelError: ONNX Runtime does not load the file.
    """
    with tempfile.TemporaryDirectory(prefix="edgeport-", ignore_cleanup_errors=True) as folder:
        optimized = Path(folder) / "optimized.onnx"
        options = session_options()
        options.optimized_model_filepath = str(optimized)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        try:
            open_session(str(path), options, stock=True)
        except Exception as error:  # ONNX Runtime's exceptions share no public root
            message = one_line(error)
            raise ModelError(
                f"target onnxruntime: ONNX Runtime does not load {path.name}: {message}",
                [Finding("error", "onnxruntime-load", message)],
            ) from error
        graph = onnx.load(optimized, load_external_data=False).graph
    return Kernels(_counts(graph), _unfused(graph, planned))


def _counts(graph: onnx.GraphProto) -> Mapping[str, int]:
    names = Counter(f"{node.op_type} (NCHWc)" if node.domain == _NCHWC else node.op_type for node in graph.node)
    return dict(sorted(names.items()))


def _unfused(graph: onnx.GraphProto, planned: Collection[str]) -> tuple[str, ...]:
    """Operators between integers and integers, and those that read weights which are restored at every run."""
    makers = {name: node for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    restored = {n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants}
    quantized = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    found = []
    for node in graph.node:
        if node.op_type in _NOTHING_LOST:
            continue
        if any(name in restored for name in node.input):
            found.append(node.name)
            continue
        if node.name not in planned or not any(name in quantized for name in node.output):
            continue
        sources = [makers[name].op_type for name in node.input if name in makers]
        if sources and all(source == "DequantizeLinear" for source in sources):
            found.append(node.name)
    return tuple(found)


def remarks(kernels: Kernels) -> tuple[Finding, ...]:
    """Says of what is slow that it is."""
    if not kernels.unfused:
        return ()
    shown = ", ".join(kernels.unfused[:_SHOWN]) + (" ..." if len(kernels.unfused) > _SHOWN else "")
    message = f"ONNX Runtime fuses no integer kernel of {len(kernels.unfused)} quantized operator(s): {shown}"
    return (Finding("warning", "not-fused", message, hint='--layer-precision "NAME=fp32" keeps one in float'),)
