"""What the user may change about a target's scheme: how weights are stored, and single layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgeport.errors import UsageError
from edgeport.quantize.groups import find_groups
from edgeport.quantize.plan import INTEGERS
from edgeport.quantize.scheme import Scheme

BLOCK_SIZES = (32, 64, 128, 256)
"""Sizes of blocks of int4 weights that runtimes have kernels for."""


@dataclass(frozen=True)
class Storage:
    """How weights are stored, where the target's own choice is not wanted.

    Attributes:
        block_size: how many int4 weights share a scale; 0: a whole channel.
        group_size: how many channels share a palette; 0: all.
        sparsity: the share of sparse weights that is made zero.
    """

    block_size: int | None = None
    group_size: int | None = None
    sparsity: float | None = None


def mixed(base: Scheme, layers: Mapping[str, Scheme]) -> Scheme:
    """A scheme that decides by another one about some nodes.

    Args:
        base: decides about all others.
        layers: node name -> the scheme that decides about it, of the same target; of two nodes in one kernel the later
            counts.

    Raises:
        UsageError: they do not go together.
    """
    if not layers:
        return base
    parts = (base, *layers.values())
    if base.everywhere:
        raise UsageError("--layer-precision needs --scheme default: full-integer leaves no choice of precision")
    kinds = dict.fromkeys(part.kernel for part in parts if part.kernel in INTEGERS)
    if len(kinds) > 1:
        both = " and ".join(sorted(kinds))
        raise UsageError(f"--layer-precision: {both} do not mix; activations have one type in all of a model")

    def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
        return layers.get(anchor.name or "", base).fusible(anchor, activation)

    return replace(
        base,
        fusible=fusible,
        needs_data=any(part.needs_data for part in parts),
        symmetric_activations=any(part.symmetric_activations for part in parts),
        max_gain=min(part.max_gain for part in parts),
        max_product_gain=min(part.max_product_gain for part in parts),
        least_kept=max((part.least_kept for part in parts if part.least_kept is not None), default=None),
        clipping=max(part.clipping for part in parts),
        layers=layers,
    )


def by_kernel(graph: ir.Graph, scheme: Scheme) -> Scheme:
    """The scheme with one part for all nodes of a kernel: a bias or an activation cannot differ from its product.

    Of several that were asked for, the last in `layers` counts.
    """
    if not scheme.layers:
        return scheme
    rank = {name: i for i, name in enumerate(scheme.layers)}
    layers: dict[str, Scheme] = {}
    for group in dict.fromkeys(find_groups(graph, scheme.fusible).values()):
        names = [node.name or "" for node in group.nodes]
        asked = [name for name in names if name in rank]
        if asked:
            layers |= dict.fromkeys(names, scheme.layers[max(asked, key=rank.__getitem__)])
    return replace(scheme, layers=layers)


def with_storage(scheme: Scheme, storage: Storage) -> Scheme:
    """The scheme, and those of its layers, with weights stored as the user wants; what is None stays as it is.

    Raises:
        UsageError: nothing in it is stored in that way, or it cannot be had.
    """
    parts = scheme.parts
    _check(parts, storage)
    changed = {id(part): _changed(part, storage) for part in parts}
    return replace(changed[id(scheme)], layers={name: changed[id(part)] for name, part in scheme.layers.items()})


def _changed(scheme: Scheme, storage: Storage) -> Scheme:
    if storage.block_size is not None and scheme.block is not None:
        scheme = replace(scheme, block=storage.block_size or None)
    if storage.group_size is not None and scheme.bits is not None:
        scheme = replace(scheme, group=storage.group_size or None)
    if storage.sparsity is not None and scheme.kernel == "sparse":
        scheme = replace(scheme, sparsity=storage.sparsity)
    return scheme


def _check(parts: tuple[Scheme, ...], storage: Storage) -> None:
    said = " with ".join(dict.fromkeys(part.precision for part in parts))
    if storage.block_size is not None:
        if all(part.block is None for part in parts):
            raise UsageError(f"--block-size is for int4-weights; --precision {said} has no blocks")
        if storage.block_size not in (0, *BLOCK_SIZES):
            sizes = ", ".join(map(str, BLOCK_SIZES))
            raise UsageError(
                f"--block-size {storage.block_size}: there are kernels for {sizes}, and 0 for one scale a channel"
            )
    if storage.group_size is not None:
        palettes = [part for part in parts if part.bits is not None]
        if not palettes:
            raise UsageError(f"--group-size is for palettized weights; --precision {said} has no palettes")
        if storage.group_size < 0:
            raise UsageError(f"--group-size {storage.group_size}: give a number of channels, or 0 for all of them")
        if storage.group_size and not all(part.grouped for part in palettes):
            raise UsageError(
                f"--group-size {storage.group_size}: the target stores one palette a tensor here; leave it out, or "
                "choose a --profile of a later system"
            )
    if storage.sparsity is not None:
        if all(part.kernel != "sparse" for part in parts):
            raise UsageError(f"--sparsity is for --precision sparse, not {said}")
        if not 0 <= storage.sparsity < 1:
            raise UsageError(f"--sparsity {storage.sparsity:g}: give the share of weights to drop, from 0 to below 1")
