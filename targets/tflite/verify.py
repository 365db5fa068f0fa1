"""Loads a finished file in LiteRT and says what it holds and which operators XNNPACK leaves to slow kernels."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.targets.tflite.interpreter import interpreter
from edgeport.targets.tflite.xnnpack import Left, left_over

_SHOWN = 8
_HEAVY = ("BATCH_MATMUL", "CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


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
    signature = engine.get_signature_runner("serving_default")
    ops = collections.Counter(names)
    facts = {
        "bytes": len(data),
        "ops": dict(sorted(ops.items())),
        "op_count": len(names),
        "transposes": ops["TRANSPOSE"],
        "not_on_xnnpack": dict(sorted(collections.Counter(one.op for one in left).items())),
        "inputs": [_end(*item) for item in signature.get_input_details().items()],
        "outputs": [_end(*item) for item in signature.get_output_details().items()],
    }
    return facts, (*_not_on_xnnpack(left), *_slower_than_float(left, ops))


def _end(name: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """What a caller must know to feed or read a tensor."""
    end = {"name": name, "dtype": detail["dtype"].__name__, "shape": detail["shape"].tolist()}
    scale, zero = detail["quantization"]
    return end | ({"scale": float(scale), "zero_point": int(zero)} if scale else {})


def _slower_than_float(left: Sequence[Left], ops: Mapping[str, int]) -> Iterator[Finding]:
    """A warning where the heavy work falls to integer reference kernels."""
    slow = [one for one in left if one.op in _HEAVY and "int" in one.dtype]
    if not slow:
        return
    wide = any("int16" in one.dtype for one in slow)
    total = sum(ops.get(op, 0) for op in _HEAVY)
    message = (
        f"{len(slow)} of {total} convolutions and matrix products run in LiteRT's reference kernels on integers, "
        f"{'20 to 100 times ' if wide else ''}slower than in float on a CPU"
    )
    hint = "int16x8 is for NPUs, DSPs and microcontrollers; on a phone's CPU take int8 or fp16" if wide else None
    yield Finding("warning", "slower-than-float", message, node=slow[0].node, op=slow[0].op, hint=hint)


def _not_on_xnnpack(left: Sequence[Left]) -> Iterator[Finding]:
    """One finding for every operator type, dtype and reason, with the nodes."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for one in left:
        kinds.setdefault((one.op, one.dtype, one.reason), []).append(one.node)
    for (op, dtype, reason), nodes in sorted(kinds.items()):
        shown = ", ".join(nodes[:_SHOWN]) + (f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else "")
        message = f"{len(nodes)} {op} ({dtype}) run outside XNNPACK, on LiteRT's own kernels: {reason}; at {shown}"
        yield Finding("info", "not-on-xnnpack", message, node=nodes[0], op=op)
