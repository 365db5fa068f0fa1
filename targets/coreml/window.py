"""Sliding windows as MIL's convolutions and pools take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.targets.coreml.registry import Refused
from edgeport.targets.window import Window, declared_after, window


def uncropped(node: ir.Node, size: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> Window:
    """The window of a Conv or pool node; MIL's paddings are not negative.

    Raises:
        Refused: pads are negative, or auto_pad is unknown.
    """
    win = window(node, size, out, kernel)
    if any(p < 0 for p in (*win.before, *declared_after(node, win))):
        raise Refused("negative pads are not supported", "crop with Slice instead")
    return win


def pads(win: Window) -> list[int]:
    """Padding before and after the data, axis by axis; 0 where data is left unread."""
    return [p for before, after in zip(win.before, win.after, strict=True) for p in (before, max(after, 0))]


def facts(win: Window) -> dict[str, Any]:
    """Strides and padding as inputs of MIL's conv and pools."""
    strides = np.asarray(win.strides, np.int32)
    if not any(pads(win)):
        return {"strides": strides, "pad_type": "valid"}
    return {"strides": strides, "pad_type": "custom", "pad": np.asarray(pads(win), np.int32)}
