"""NVIDIA's ONNX parser and engine builder for other processes, which survive when this one does not.

    python -P -m edgeport.targets.tensorrt.oracle_worker

TensorRT for RTX parses and builds on a machine without a GPU; its parser is of the TensorRT 11 generation. What it logs
is collected and never printed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgeport.targets.tensorrt.log import Lines, listening
from edgeport.targets.worker_process import DECLINED, DONE, serve

_PLACE = re.compile(r"^\S*\.(?:cpp|h|cu):\d+: ")
"""Where in NVIDIA's sources a message comes from."""
_OF_COURSE = re.compile(r"cudaError|Make sure (?:in|out)put .* has Int64 binding")
"""Lines about the GPU that is not there, and that int64 stays int64."""


Said = tuple[str, str, str, str]
"""One sentence of NVIDIA's parser: `rejects` or `warns`, its words in one line, node and operator (empty if none)."""


def main() -> None:
    """Serves until the input ends."""
    serve(answer)


def answer(request: tuple[Any, ...]) -> tuple[str, Any]:
    """Answers `("parse", model)`, `("build", model, path, compute capabilities)` and `("importers", operators)`.

    A model is a path or bytes.
    """
    try:
        import tensorrt_rtx as trt
    except Exception as error:  # a toolchain of another version may fail in any way
        return DECLINED, f"tensorrt-rtx cannot be loaded: {type(error).__name__}: {error}"
    try:
        match request:
            case "parse", model:
                return DONE, _parse(trt, model)[0]
            case "build", model, path, capabilities:
                return _build(trt, model, path, capabilities)
            case "importers", op_types:
                return DONE, _importers(trt, op_types)
    except Exception as error:  # what its bindings raise is no part of their documentation
        return DECLINED, f"{type(error).__name__}: {' '.join(str(error).split())}"
    return DECLINED, f"there is no request {request[0]!r}"


def _parse(trt: Any, model: str | bytes) -> tuple[list[Said], Any]:
    """What the parser says of a file (a path, whose external data lies beside it) or of its bytes; and the network."""
    log, logger = listening(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(model) if isinstance(model, bytes) else parser.parse_from_file(model)
    said: list[Said] = [("warns", text, "", "") for text in _all(log, "WARNING")]
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        said.append(("rejects", _words(error), error.node_name(), error.node_operator()))
    if parsed and not network.num_outputs:
        said.append(("rejects", "it finds no graph in it", "", ""))
    if not parsed and not parser.num_errors:
        said.append(("rejects", "; ".join(_all(log, "ERROR")) or "it gives no reason", "", ""))
    return said, (log, builder, network, parser)


def _all(log: Lines, severity: str) -> list[str]:
    """What was logged of a severity, each sentence once."""
    found = (_PLACE.sub("", _one_line(text)) for kind, text in log if kind == severity)
    return [text for text in dict.fromkeys(found) if text]


def _one_line(text: str) -> str:
    """Without the lines that say nothing of the model."""
    return " ".join(" ".join(line for line in text.splitlines() if not _OF_COURSE.search(line)).split())


def _words(error: Any) -> str:
    """The parser's words; where they are a bare `false`, the name of its check stands for them."""
    text = _one_line(error.desc())
    return f"{error.func()} fails" if text in ("", "false") else text


def _build(trt: Any, model: str | bytes, path: str, capabilities: tuple[str, ...]) -> tuple[str, Any]:
    """Builds an engine for GPUs of these compute capabilities (`SM86`, ...) and writes it to `path`."""
    said, (log, builder, network, _parser) = _parse(trt, model)
    for kind, text, node, op in said:
        if kind == "rejects":
            return DECLINED, f"its parser says at {op} {node!r}: {text}" if op else f"its parser says: {text}"
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for index, name in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    log.clear()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return DECLINED, "; ".join(_all(log, "ERROR")) or "it gives no reason"
    Path(path).write_bytes(bytes(engine))
    return DONE, None


def _importers(trt: Any, op_types: tuple[str, ...]) -> list[str]:
    """Those of the operators that the parser has an importer or a built-in plugin for."""
    _, logger = listening(trt)
    builder = trt.Builder(logger)
    parser = trt.OnnxParser(builder.create_network(0), logger)
    return [op_type for op_type in op_types if parser.supports_operator(op_type)]


if __name__ == "__main__":
    main()
