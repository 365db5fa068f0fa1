"""The forms of operators that this target lowers, where the canonical graph has others."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.pipeline import rewritten
from edgeport.targets.coreml import mil

FORMS: tuple[str, ...] = ("expand_uncommon_recurrence", "limit_rank", "remove_identities", "narrow_constants")
"""Passes that write operators which MIL lacks in others, in order."""
_BEFORE_IOS18 = ("expand_late_reset",)
"""Passes for what MIL has since iOS 18."""


def in_own_forms(model: ir.Model, deployment: str) -> ir.Model:
    """A copy of the canonical graph in which `FORMS` have run; tensors that stay keep their names.

    Args:
        model: the canonical graph.
        deployment: the oldest system that is to take the program, e.g. `iOS17`.
    """
    older = mil.specification(deployment) < mil.specification("iOS18")
    return rewritten(model, (*FORMS, *(_BEFORE_IOS18 if older else ())))
