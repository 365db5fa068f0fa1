"""Loads a finished file in LiteRT and says what it holds and which operators XNNPACK leaves to slow kernels."""

from __future__ import annotations

import collections
from typing import Any

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.targets.tflite.interpreter import interpreter


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
    details = engine._get_ops_details()
    delegated = {i for op in details if op["op_name"] == "DELEGATE" for i in op["outputs"].tolist()}
    ops: collections.Counter[str] = collections.Counter()
    slow: collections.Counter[str] = collections.Counter()
    for op in details:
        if op["op_name"] == "DELEGATE":
            continue
        ops[op["op_name"]] += 1
        if not delegated.intersection(op["outputs"].tolist()):
            slow[op["op_name"]] += 1
    facts = {
        "bytes": len(data),
        "ops": dict(sorted(ops.items())),
        "op_count": sum(ops.values()),
        "transposes": ops["TRANSPOSE"],
        "not_on_xnnpack": dict(sorted(slow.items())),
    }
    findings = tuple(
        Finding("info", "not-on-xnnpack", f"{count} {op} run outside XNNPACK, on LiteRT's own kernels", op=op)
        for op, count in sorted(slow.items())
    )
    return facts, findings
