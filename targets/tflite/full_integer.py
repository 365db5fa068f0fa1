"""`--scheme full-integer`: integers everywhere, for NPUs and microcontrollers that have no float unit worth the name.

Every float operator must have an integer kernel in LiteRT (2.3.0, each compared with float arithmetic); one without is
refused. On a CPU such a file is slower than the default scheme's and its drift is larger.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints, get_str, scalar
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.targets.tflite.scheme import fixed_int8, tflite_scheme

PASSES = ("integer_forms",)
"""Graph passes that the scheme adds."""
_FIRST = (0,)


def full_integer_scheme() -> Scheme:
    """The scheme; every rule is an anchor or passes integers on."""
    usual = tflite_scheme("int8")
    kept = {op: replace(rule, role="anchor" if rule.role == "glue" else rule.role) for op, rule in usual.rules.items()}
    kept = {op: rule for op, rule in kept.items() if rule.kernel is None and op != "Attention"}
    # A Concat brings its operands to its own scale, so that one with fixed parameters binds no other.
    kept["Concat"] = replace(kept["Concat"], shared=False)
    return replace(usual, rules=kept | _MORE, everywhere=True)


def _inverse_root(node: ir.Node) -> str | None:
    exponent = scalar(node.inputs[1])
    return None if exponent in (-0.5, 0.5) else "only powers of 0.5 and -0.5 have an integer kernel"


def _unpadded(node: ir.Node) -> str | None:
    x = node.inputs[0]
    plain = not any(get_ints(node, "pads") or ()) and not get_int(node, "ceil_mode", 0)
    plain &= get_str(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    plain &= set(get_ints(node, "dilations") or (1,)) == {1}
    if not plain or x is None or x.shape is None or len(x.shape) != 4:
        return "only unpadded averages over two dimensions have an integer kernel"
    return None


def _axis_zero(node: ir.Node) -> str | None:
    table = node.inputs[0]
    if table is not None and table.const_value is not None and get_int(node, "axis", 0) != 0:
        return "only rows of a constant table have an integer kernel"
    return None


_unary = OpRule("anchor", activations=_FIRST)


def _last_of_equals(node: ir.Node) -> str | None:
    return "of equal values it takes the last" if get_int(node, "select_last_index", 0) else None


_passing = OpRule("passthrough", activations=_FIRST)
_MORE = {
    "Abs": _unary,
    "Exp": _unary,
    "Log": _unary,
    "Sqrt": _unary,
    "Gelu": _unary,
    "HardSwish": replace(_unary, result_step=max),
    "Pow": replace(_unary, refuses=_inverse_root),
    "PRelu": OpRule("anchor", activations=(0, 1)),
    "ReduceSum": _unary,
    "Max": OpRule("anchor"),
    "Min": OpRule("anchor"),
    "Where": OpRule("anchor", activations=(1, 2), shared=True),
    "Softmax": replace(_unary, output=fixed_int8(1 / 256, -128)),
    "LogSoftmax": replace(_unary, output=fixed_int8(16 / 256, 127)),
    "AveragePool": replace(_passing, refuses=_unpadded),
    "ArgMax": replace(_passing, refuses=_last_of_equals),
    "ArgMin": replace(_passing, refuses=_last_of_equals),
    "Gather": replace(_passing, refuses=_axis_zero),
    "Expand": _passing,
    "Tile": _passing,
}
