"""Operators that read between elements, and pools."""

from __future__ import annotations

from edgeport.passes.edit import get_ints, get_str, rank
from edgeport.targets.lowering import Refused
from edgeport.targets.opset.registry import Descent, since

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


@since(20, "GridSample")
def _two_axes(at: Descent) -> None:
    """Images had two axes, and the modes were named after that."""
    if rank(at.node.inputs[0]) not in (4, None):
        raise Refused("it samples volumes", "sample images of two axes")
    mode = get_str(at.node, "mode", "linear")
    at.set(mode=_MODES.get(mode, mode))


@since(19, "AveragePool")
def _dense_windows(at: Descent) -> None:
    """Windows had no gaps."""
    if all(step == 1 for step in get_ints(at.node, "dilations") or ()):
        at.drop("dilations")


@since(19, "Pad")
def _no_wrap(at: Descent) -> None:
    """What stands behind the end was no mode."""
    if get_str(at.node, "mode", "constant") == "wrap":
        raise Refused("it pads with the other end (mode wrap)", "join the two ends with Concat")


@since(19, "Resize")
def _known_coordinates(at: Descent) -> None:
    """Symmetric half pixels came later."""
    if get_str(at.node, "coordinate_transformation_mode", "half_pixel") == "half_pixel_symmetric":
        raise Refused("it uses half_pixel_symmetric coordinates", "use half_pixel, or give whole sizes")
