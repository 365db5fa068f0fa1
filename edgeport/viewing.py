"""`torch_view`: any source as a torch module that computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeport.capture.torch_file import require_torch
from edgeport.preparation import prepare
from edgeport.sample import InputSpec

if TYPE_CHECKING:
    from torch import fx


def torch_view(
    source: Any,
    *,
    inputs: Sequence[str | InputSpec] = (),
    drop_passes: Sequence[str] = (),
    add_passes: Sequence[str] = (),
) -> fx.GraphModule:
    """A model as a torch module: to be trained further, scripted, traced or exported again.

    Args:
        source: as for `export`; so are the other arguments.
        inputs: `NAME:DTYPE[SHAPE]`, to fix open dimensions.
        drop_passes: names of graph passes to leave out.
        add_passes: names of graph passes to run as well.

    Returns:
        A module over functions of torch only. It takes the inputs in their order and returns a tuple of the outputs;
        nodes carry the names of the canonical graph's tensors in `node.meta["edgeport.name"]`.

    Raises:
        ToolchainError: torch is not installed.
        ModelError: the model cannot be captured, or a node has no form in torch; the findings list every such node.
    """
    require_torch("torch_view")
    from edgeport.torch_view.view import torch_view as view_of

    return view_of(prepare(source, inputs, drop_passes, add_passes).canonical)
