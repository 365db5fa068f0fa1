"""Compressed weights: what the evaluator computes from a package is bit for bit what coremltools decompresses it to."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.run import Evaluator

RNG = np.random.default_rng(8)
WEIGHT = RNG.standard_normal((32, 16, 3, 3)).astype(np.float32)
MATRIX = RNG.standard_normal((24, 32)).astype(np.float32)
INPUT = RNG.standard_normal((1, 16, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def float_model() -> Callable[[str], Any]:
    """float_model(deployment): a convolution and a linear layer as coremltools' model, fp16 inside."""
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb

    def make(deployment: str) -> Any:
        target = getattr(ct.target, deployment)

        @mb.program(input_specs=[mb.TensorSpec(INPUT.shape)], opset_version=target)
        def program(x: Any) -> Any:
            x = mb.conv(x=x, weight=WEIGHT, pad_type="valid")
            return mb.linear(x=mb.reduce_mean(x=x, axes=[2, 3]), weight=MATRIX, name="y")

        return ct.convert(program, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True)

    return make


def _linear(cto: Any, **options: Any) -> Callable[[Any], Any]:
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=1, **options))
    return lambda model: cto.linear_quantize_weights(model, config)


def _palette(cto: Any, **options: Any) -> Callable[[Any], Any]:
    config = cto.OptimizationConfig(cto.OpPalettizerConfig(weight_threshold=1, **options))
    return lambda model: cto.palettize_weights(model, config)


def _prune(cto: Any) -> Callable[[Any], Any]:
    config = cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=1))
    return lambda model: cto.prune_weights(model, config)


def _joint(cto: Any, second: str) -> Callable[[Any], Any]:
    def compress(model: Any) -> Any:
        pruned = _prune(cto)(model)
        if second == "linear":
            config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=1, mode="linear_symmetric"))
            return cto.linear_quantize_weights(pruned, config, joint_compression=True)
        config = cto.OptimizationConfig(cto.OpPalettizerConfig(weight_threshold=1, mode="uniform", nbits=4))
        return cto.palettize_weights(pruned, config, joint_compression=True)

    return compress


COMPRESSIONS: dict[str, tuple[str, Callable[[Any], Callable[[Any], Any]]]] = {
    "affine-symmetric": ("iOS16", lambda cto: _linear(cto, mode="linear_symmetric")),
    "affine-asymmetric": ("iOS16", lambda cto: _linear(cto, mode="linear", dtype="uint8")),
    **{
        f"palette-{bits}": ("iOS16", lambda cto, bits=bits: _palette(cto, mode="uniform", nbits=bits))
        for bits in (2, 4, 6, 8)
    },
    "sparse": ("iOS16", _prune),
    **{
        f"block-{dtype}": (
            "iOS18",
            lambda cto, dtype=dtype: _linear(cto, mode="linear", dtype=dtype, granularity="per_block", block_size=8),
        )
        for dtype in ("int4", "uint4", "int8")
    },
    "palette-3-ios18": ("iOS18", lambda cto: _palette(cto, mode="uniform", nbits=3)),
    "palette-grouped": (
        "iOS18",
        lambda cto: _palette(cto, mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=8),
    ),
    "palette-scaled": (
        "iOS18",
        lambda cto: _palette(
            cto, mode="uniform", nbits=2, granularity="per_grouped_channel", enable_per_channel_scale=True
        ),
    ),
    "sparse-ios18": ("iOS18", _prune),
    "sparse-linear": ("iOS18", lambda cto: _joint(cto, "linear")),
    "sparse-palette": ("iOS18", lambda cto: _joint(cto, "palette")),
}


@pytest.mark.parametrize("case", COMPRESSIONS)
def test_evaluates_like_the_decompressed_package(float_model: Callable[[str], Any], tmp_path: Path, case: str) -> None:
    deployment, compression = COMPRESSIONS[case]
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools.optimize.coreml as cto

        model = compression(cto)(float_model(deployment))
        model.save(str(tmp_path / "compressed.mlpackage"))
        cto.decompress_weights(model).save(str(tmp_path / "plain.mlpackage"))

    compressed, plain = (Evaluator(tmp_path / f"{name}.mlpackage") for name in ("compressed", "plain"))
    kinds = {operation.kind for operation in compressed.package.interfaces["main"].function.block.operations}
    assert any(kind.startswith("constexpr_") for kind in kinds)
    # The same float32 operations on the same bits.
    np.testing.assert_array_equal(compressed.run({"x": INPUT}).outputs["y"], plain.run({"x": INPUT}).outputs["y"])


def _bits(values: np.ndarray, dtype: str) -> np.ndarray:
    """Small integers in the dtype by which coremltools knows their width."""
    from coremltools.converters.mil.mil import types

    return values.astype(types.nptype_from_builtin(types.string_to_builtin(dtype)))


INDICES = RNG.integers(0, 4, (4, 6, 2))
MASK = RNG.integers(0, 2, (4, 6))
COUNT = int(MASK.sum())
FORMS: dict[str, Callable[[Any], Any]] = {
    "groups-on-two-axes": lambda mb: mb.constexpr_lut_to_dense(
        indices=_bits(INDICES, "uint2"), lut=RNG.standard_normal((2, 3, 1, 4, 1)).astype(np.float16)
    ),
    "vectors-inside": lambda mb: mb.constexpr_lut_to_dense(
        indices=_bits(INDICES, "uint2"), lut=RNG.standard_normal((1, 1, 1, 4, 3)).astype(np.float16), vector_axis=1
    ),
    "vectors-in-groups": lambda mb: mb.constexpr_lut_to_dense(
        indices=_bits(INDICES, "uint2"), lut=RNG.standard_normal((2, 1, 2, 4, 3)).astype(np.float32), vector_axis=-1
    ),
    "integer-table": lambda mb: mb.constexpr_lut_to_dense(
        indices=_bits(INDICES, "uint2"), lut=RNG.integers(-128, 128, (1, 1, 1, 4, 1)).astype(np.int8)
    ),
    "blocks-on-two-axes": lambda mb: mb.constexpr_blockwise_shift_scale(
        data=_bits(RNG.integers(-8, 8, (4, 6)), "int4"),
        scale=RNG.random((2, 3)).astype(np.float16),
        offset=_bits(RNG.integers(-8, 8, (2, 3)), "int4"),
    ),
    "float-offset": lambda mb: mb.constexpr_blockwise_shift_scale(
        data=RNG.integers(0, 255, (4, 6)).astype(np.uint8),
        scale=RNG.random((4, 1)).astype(np.float32),
        offset=RNG.random((4, 1)).astype(np.float32),
    ),
    "sparse": lambda mb: mb.constexpr_sparse_to_dense(
        nonzero_data=RNG.standard_normal(COUNT).astype(np.float16), mask=_bits(MASK, "uint1")
    ),
    "cast": lambda mb: mb.constexpr_cast(source_val=RNG.standard_normal(5).astype(np.float16), output_dtype="fp32"),
}


def _joined(mb: Any, kind: str) -> Any:
    mask = _bits(MASK, "uint1")
    if kind == "sparse-blocks":
        mask, data = mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=mask,
            nonzero_data=RNG.integers(-128, 128, COUNT).astype(np.int8),
            scale=RNG.random((4, 2)).astype(np.float16),
            offset=RNG.integers(-128, 128, (4, 2)).astype(np.int8),
        )
    else:
        vector = kind == "sparse-vectors"
        mask, data = mb.constexpr_lut_to_sparse(
            indices_mask=mask,
            indices_nonzero_data=_bits(RNG.integers(0, 4, COUNT), "uint2"),
            lut=RNG.standard_normal((2, 1, 4, 2 if vector else 1)).astype(np.float16),
            **({"vector_axis": 0} if vector else {}),
        )
    return mb.constexpr_sparse_to_dense(nonzero_data=data, mask=mask)


FORMS |= {
    kind: lambda mb, kind=kind: _joined(mb, kind) for kind in ("sparse-blocks", "sparse-palette", "sparse-vectors")
}


@pytest.mark.parametrize("case", FORMS)
def test_forms_that_no_tool_writes_by_itself(save: Any, tmp_path: Path, case: str) -> None:
    """Built one by one; a constant's value is seen by passing it on through an operation."""
    path, (passed,) = save(tmp_path / "m.mlpackage", lambda mb: mb.identity(x=FORMS[case](mb)), "iOS18")

    found = Evaluator(path).run({"unused": np.zeros(1, np.float32)}, keep=None).values[passed.name]

    expected = passed.op.x.op.materialized_val_inference()
    np.testing.assert_array_equal(found, np.asarray(expected))
