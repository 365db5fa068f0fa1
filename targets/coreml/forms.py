"""The forms of operators that this target lowers, where the canonical graph has others."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.pipeline import rewritten

FORMS: tuple[str, ...] = ()
"""Passes that write operators which MIL lacks in others, in order."""


def in_own_forms(model: ir.Model) -> ir.Model:
    """A copy of the canonical graph in which `FORMS` have run; tensors that stay keep their names."""
    return rewritten(model, FORMS)
