"""Loads a finished file in LiteRT and says what it holds and which operators XNNPACK leaves to slow kernels."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.targets.tflite.interpreter import interpreter
from edgeport.targets.tflite.xnnpack import Left, left_over

_SHOWN = 8


def inspect_file(data: bytes, name: str) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Facts and findings about a file.

    Raises:
        ModelError: LiteRT does not load it.
    """
    try:
        engine = interpreter(data, experimental_disable_delegate_node_fusion=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"LiteRT does not load {name}.tflite: {reason}") from error
    names, left = left_over(engine)
    ops = collections.Counter(names)
    facts = {
        "bytes": len(data),
        "ops": dict(sorted(ops.items())),
        "op_count": len(names),
        "transposes": ops["TRANSPOSE"],
        "not_on_xnnpack": dict(sorted(collections.Counter(one.op for one in left).items())),
    }
    return facts, tuple(_not_on_xnnpack(left))


def _not_on_xnnpack(left: Sequence[Left]) -> Iterator[Finding]:
    """One finding for every operator type, dtype and reason, with the nodes."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for one in left:
        kinds.setdefault((one.op, one.dtype, one.reason), []).append(one.node)
    for (op, dtype, reason), nodes in sorted(kinds.items()):
        shown = ", ".join(nodes[:_SHOWN]) + (f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else "")
        message = f"{len(nodes)} {op} ({dtype}) run outside XNNPACK, on LiteRT's own kernels: {reason}; at {shown}"
        yield Finding("info", "not-on-xnnpack", message, node=nodes[0], op=op)
