"""Gelu written out becomes one operator.

    x --+--> Div(sqrt 2) --> Erf --> Add(1) --> Mul --> Mul(0.5) --> y        ==>     x --> Gelu --> y
        `---------------------------------------^

    x --+--> Pow(3) --> Mul(0.044715) --> Add --> Mul(sqrt(2/pi)) --> Tanh --> Add(1) --> Mul --> Mul(0.5) --> y
        `-----------------------------------^                                              ^
        `----------------------------------------------------------------------------------'
                                                                    ==>     x --> Gelu(approximate=tanh) --> y

Applies to every order of the multiplications and additions, x * x * x or Pow, division or multiplication, with the
constants right to 2e-5, and no reader of anything in between. Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx_ir as ir

from edgeport.passes.activation import fuse_activation
from edgeport.passes.edit import nodes
from edgeport.passes.polynomial import Expansion, Powers
from edgeport.passes.registry import register

_OUTER: dict[Powers, float] = {(1, 0): 0.5, (1, 1): 0.5}  # 0.5 x (1 + a)
_TANH = math.sqrt(2 / math.pi)


@register("fuse_gelu")
def fuse_gelu(model: ir.Model) -> bool:
    """Fuses the erf and the tanh form."""
    changed = False
    for node in nodes(model, "Erf"):
        changed |= fuse_activation(node, _erf_argument, _OUTER, "Gelu")
    for node in nodes(model, "Tanh"):
        changed |= fuse_activation(node, _tanh_argument, _OUTER, "Gelu")
    return changed


def _erf_argument(inside: Expansion) -> Mapping[str, float | str] | None:
    return {} if inside.equals({(1,): math.sqrt(0.5)}) else None


def _tanh_argument(inside: Expansion) -> Mapping[str, float | str] | None:
    return {"approximate": "tanh"} if inside.equals({(1,): _TANH, (3,): 0.044715 * _TANH}) else None
