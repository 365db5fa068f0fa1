"""From a captured graph to the canonical graph: the passes in their order."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgeport.errors import ModelError, UsageError
from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.registry import Pass, get

DEFAULT_PIPELINE: tuple[str, ...] = (
    "inline_functions",
    "clear_metadata",
    "lift_constants",
    "fold_constants",  # at the source's opset: the conversion needs to see computed scales and sizes
    "expand_cum_prod",  # newer than the canonical opset
    "expand_causal_conv",  # newer, too
    "expand_roi_align",  # ONNX Runtime has none of the canonical opset
    "expand_contrib",
    "convert_version",
    "expand_contrib",
    "compute_in_float32",
    "time_major_recurrence",
    "expand_attention",
    "expand_mean_variance",
    "expand_rotary_embedding",
    "expand_einsum",
    "expand_det",
    "expand_dft",
    "expand_stft",
    "fold_compress",
    "fold_eye_like",
    "expand_lp_pool",
    "expand_center_crop_pad",
    "expand_affine_grid",
    "expand_col2im",
    "expand_deform_conv",
    "expand_quantization",
    "expand_integer_products",
    "expand_dropout",
    "fold_empty",
    "remove_empty",
    "unroll_loops",
    "remove_identities",
    "fold_constants",
    "remove_identities",
    "select_branches",
    "merge_duplicates",
    "gather_rows",
    "gather_ranges",
    "unmerge_transposes",
    "merge_transposes",
    "merge_reshapes",
    "normalize_clips",
    "fuse_gelu",
    "fuse_swish",
    "fuse_hard_swish",
    "fuse_hard_sigmoid",
    "fuse_layer_norm",
    "fuse_rms_norm",
    "fuse_group_norm",
    "fuse_attention",
    "linear_form",
    "fold_batch_norm",
    "fuse_pad",
    "global_pools",
    "fold_scale_shift",
    "fold_pixel_shuffle",
    "fuse_space_to_depth",
    "remove_expands",
    "merge_reduce_reshape",
    "split_linear",
    "merge_reshapes",
    "merge_transposes",
    "transpose_first",
    "normalize_clips",
    "merge_transposes",
    "merge_reshapes",
    "fold_constants",
    "remove_identities",
    "merge_duplicates",
    "remove_dead_code",
)
"""Names of the passes that `canonicalize` runs, in order. One that stands here twice is dropped as one."""


def canonicalize(model: ir.Model, *, drop: Sequence[str] = (), add: Sequence[str] = ()) -> ir.Model:
    """The canonical graph of a captured model.

    Args:
        model: the captured graph; not changed.
        drop: names of passes to leave out.
        add: names of further registered passes, run at the end in this order.

    Returns:
        A new model: canonical opset, shapes inferred, topologically sorted, every node and value named uniquely.
        Graph inputs and outputs have the source's names, order, shapes and types.

        Output dimensions that follow from the inputs are filled in.

    Raises:
        UsageError: an unknown pass name, or convert_version dropped where it is needed.
        ModelError: the model cannot be expressed in the canonical opset, or its graph has a cycle.
    """
    for name in drop:
        get(name)
    chosen = [get(name) for name in (*DEFAULT_PIPELINE, *add) if name not in drop]
    if "convert_version" in drop and model.opset_imports.get("", CANONICAL_OPSET) != CANONICAL_OPSET:
        raise UsageError(
            f"'convert_version' cannot be dropped: the other passes write operators of opset {CANONICAL_OPSET}"
        )
    result = _copy(model)
    _tidy(result)
    infer_shapes(result, discard=True)
    _run(result, chosen)
    return result


def rewritten(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A copy of a canonical graph on which further passes have run: the forms that one target wants.

    Args:
        model: the canonical graph; not changed.
        names: registered passes, run in this order.
    """
    result = model.clone()
    _run(result, [get(name) for name in names])
    return result


def _run(model: ir.Model, passes: Sequence[Pass]) -> None:
    for pass_ in passes:
        if pass_(model):
            _tidy(model)
            infer_shapes(model)


def _copy(model: ir.Model) -> ir.Model:
    try:
        return model.clone()
    except (RuntimeError, ValueError):  # cloning needs nodes in topological order, which files don't always have
        return ir.serde.deserialize_model(ir.serde.serialize_model(model))


def _tidy(model: ir.Model) -> None:
    """Sorted and uniquely named, which every pass may rely on and serialization needs."""
    try:
        common.TopologicalSortPass()(model)
    except ValueError as error:
        raise ModelError(f"the graph has a cycle ({error}); export the model again") from error
    common.NameFixPass()(model)
