"""Resizing, sampling and rearranging of images in the evaluator against PyTorch and against what devices give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.registry import EvaluationError

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(7)
# Interpolation shares computed in float64 here and in float32 there: a few units in the last place of values of size 1.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def _random(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


IMAGE = _random(2, 3, 6, 8)
TENSOR = torch.from_numpy(IMAGE)
SIXTEEN = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_CORNERS", "UNALIGN_CORNERS"])
def test_resize_bilinear_is_pytorchs(evaluate: Any, mode: str) -> None:
    sizes = [(12, 16), (9, 5), (3, 20), (1, 1)]

    def build(mb: Any, x: Any) -> list[Any]:
        options = {"x": x, "sampling_mode": mode}
        plain = [mb.resize_bilinear(target_size_height=h, target_size_width=w, **options) for h, w in sizes]
        return plain + [mb.resize(shape=[0, *size], resized_dims=np.uint32(2), **options) for size in sizes]

    for size, (_, found) in zip(sizes * 2, evaluate(build, inputs={"x": IMAGE}), strict=True):
        expected = F.interpolate(TENSOR, size, mode="bilinear", align_corners=mode.startswith("STRICT")).numpy()
        np.testing.assert_allclose(found, expected, **CLOSE)


# Positions as the documentation of the operation lists them for the interval [0, 1] and 5 or 6 samples.
POSITIONS = {
    ("STRICT_ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("ALIGN_CORNERS", 5): [0, 0.25, 0.5, 0.75, 1],
    ("ALIGN_CORNERS", 1): [0.5],
    ("STRICT_ALIGN_CORNERS", 1): [0],
    ("DEFAULT", 5): [0, 0.4, 0.8, 1, 1],
    ("DEFAULT", 6): [0, 1 / 3, 2 / 3, 1, 1, 1],
    ("OFFSET_CORNERS", 5): [0.1, 0.3, 0.5, 0.7, 0.9],
    ("UNALIGN_CORNERS", 6): [0, 0, 1 / 3, 2 / 3, 1, 1],
}


def test_sampling_modes_read_the_documented_positions(evaluate: Any) -> None:
    def build(mb: Any, x: Any) -> list[Any]:
        return [
            mb.resize_bilinear(x=x, target_size_height=1, target_size_width=count, sampling_mode=mode)
            for mode, count in POSITIONS
        ]

    results = evaluate(build, inputs={"x": np.float32([[[0, 1]]])})
    for (case, positions), (_, found) in zip(POSITIONS.items(), results, strict=True):
        np.testing.assert_allclose(found[0, 0], positions, atol=1e-6, err_msg=str(case))


def test_upsample_bilinear_recomputes_the_factor(evaluate: Any) -> None:
    cases = [(factors, aligned) for factors in ((2, 3), (2.5, 0.75), (1, 1)) for aligned in (True, False)]

    def build(mb: Any, x: Any) -> list[Any]:
        return [
            mb.upsample_bilinear(
                x=x,
                scale_factor_height=np.float32(factors[0]),
                scale_factor_width=np.float32(factors[1]),
                align_corners=aligned,
            )
            for factors, aligned in cases
        ]

    for (factors, aligned), (_, found) in zip(cases, evaluate(build, inputs={"x": IMAGE}), strict=True):
        expected = F.interpolate(
            TENSOR, scale_factor=factors, mode="bilinear", align_corners=aligned, recompute_scale_factor=True
        )
        np.testing.assert_allclose(found, expected.numpy(), **CLOSE)


def _factor(wanted: int, size: int) -> np.float32:
    """A factor with which floor(size * factor) is the wanted size in spite of its rounding, as converters make them."""
    return np.float32(wanted / size if wanted % size == 0 else (wanted + 1e-4) / size)


def test_nearest_neighbours_are_those_of_devices(evaluate: Any) -> None:
    """Apple's tests hold `resize_nearest_neighbor` to TensorFlow's half_pixel_centers: PyTorch's nearest-exact."""
    sizes = [(12, 24), (6, 8), (2, 4), (9, 12), (25, 5)]

    def build(mb: Any, x: Any) -> list[Any]:
        made = []
        for height, width in sizes:
            nearest = {"resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
            factors = {"scale_factor_height": _factor(height, 6), "scale_factor_width": _factor(width, 8)}
            made.append(mb.resize_nearest_neighbor(x=x, target_size_height=height, target_size_width=width))
            made.append(mb.resize(x=x, shape=(height, width), **nearest))
            made.append(mb.upsample_nearest_neighbor(x=x, **factors))
        return made

    found = [array for _, array in evaluate(build, inputs={"x": IMAGE})]
    for index, size in enumerate(sizes):
        exact, resized, floored = found[3 * index : 3 * index + 3]
        np.testing.assert_array_equal(exact, F.interpolate(TENSOR, size, mode="nearest-exact").numpy())
        np.testing.assert_array_equal(resized, exact)
        np.testing.assert_array_equal(floored, F.interpolate(TENSOR, size, mode="nearest").numpy())


def test_an_undocumented_nearest_neighbour_is_refused(evaluate: Any) -> None:
    def build(mb: Any, x: Any) -> Any:
        options = {"interpolation_mode": "NEAREST_NEIGHBOR", "sampling_mode": "STRICT_ALIGN_CORNERS"}
        return mb.resize(x=x, shape=[4, 3], resized_dims=np.uint32(2), **options)

    with pytest.raises(EvaluationError, match="not documented"):
        evaluate(build, inputs={"x": IMAGE})


# What each padding of `resample` is in PyTorch, and with which alignment of corners.
PADDINGS = [
    ("constant", "zeros", True),
    ("constant", "zeros", False),
    ("border", "border", False),
    ("reflection", "reflection", True),
    ("symmetric", "reflection", False),
]


@pytest.mark.parametrize("sampling", ["bilinear", "nearest"])
def test_resample_is_pytorchs_grid_sample(evaluate: Any, sampling: str) -> None:
    points = (RNG.random((2, 5, 4, 2)) * 5 - 2.5).astype(np.float32)

    def build(mb: Any, x: Any, points: Any) -> list[Any]:
        return [
            mb.resample(
                x=x,
                coordinates=points,
                sampling_mode=sampling,
                padding_mode=padding,
                padding_value=np.float32(0),
                coordinates_mode="normalized_minus_one_to_one",
                align_corners=aligned,
            )
            for padding, _, aligned in PADDINGS
        ]

    results = evaluate(build, inputs={"x": IMAGE, "points": points})
    for (padding, theirs, aligned), (_, found) in zip(PADDINGS, results, strict=True):
        expected = F.grid_sample(TENSOR, torch.from_numpy(points), sampling, theirs, align_corners=aligned).numpy()
        # A point computed in float32 is off by up to 1e-6 of an element, times differences of size 5.
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=padding)


# (sampling, padding, filler, coordinates, aligned) -> what Apple's tests of the operation expect of a device for the
# image [[11, 22], [33, 44]] at (-1, -2), (-3.7, -1), (0, 0), (3.5, 1.2).
ON_DEVICE = {
    ("bilinear", "constant", 6.17, "normalized_minus_one_to_one", True): [8.585, 6.17, 27.5, 6.17],
    ("nearest", "border", -1.0, "unnormalized", False): [11, 11, 11, 44],
    ("bilinear", "reflection", -1.0, "normalized_zero_to_one", True): [22, 36.3, 11, 34.1],
    ("nearest", "symmetric", -1.0, "normalized_zero_to_one", False): [22, 33, 11, 33],
}


@pytest.mark.parametrize("modes", ON_DEVICE)
def test_resample_is_what_devices_give(evaluate: Any, modes: tuple[str, str, float, str, bool]) -> None:
    sampling, padding, filler, coordinates, aligned = modes
    x = np.float32([[[[11, 22], [33, 44]]]])
    points = np.float32([-1, -2, -3.7, -1, 0, 0, 3.5, 1.2]).reshape(1, 2, 2, 2)

    def build(mb: Any, x: Any, points: Any) -> Any:
        return mb.resample(
            x=x,
            coordinates=points,
            sampling_mode=sampling,
            padding_mode=padding,
            padding_value=np.float32(filler),
            coordinates_mode=coordinates,
            align_corners=aligned,
        )

    ((_, found),) = evaluate(build, inputs={"x": x, "points": points})
    np.testing.assert_allclose(found.reshape(-1), ON_DEVICE[modes], rtol=1e-5)


def test_affine_is_pytorchs(evaluate: Any) -> None:
    matrix = _random(2, 6)

    def build(mb: Any, x: Any, matrix: Any) -> Any:
        return mb.affine(
            x=x,
            transform_matrix=matrix,
            output_height=5,
            output_width=7,
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=np.float32(0),
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        )

    ((_, found),) = evaluate(build, inputs={"x": IMAGE, "matrix": matrix})
    grid = F.affine_grid(torch.from_numpy(matrix.reshape(2, 2, 3)), [2, 3, 5, 7], align_corners=True)
    np.testing.assert_allclose(found, F.grid_sample(TENSOR, grid, align_corners=True).numpy(), rtol=1e-4, atol=1e-5)


def test_crop_resize_is_what_devices_give(evaluate: Any) -> None:
    """Results that Apple's tests of the operation expect, one of them with a box over the border."""
    boxes = np.float32([[0.1, 0.3, 1.3, 1.0], [0.5, 1.8, 1.0, 0.3], [0.0, 0.4, 0.6, 0.7]])
    plain = {"target_height": 2, "target_width": 2, "sampling_mode": "ALIGN_CORNERS"}

    def build(mb: Any, x: Any) -> list[Any]:
        normalized = {"normalized_coordinates": True, "pad_value": np.float32(10), **plain}
        return [
            mb.crop_resize(x=x, boxes=boxes, box_indices=np.int32([0, 0, 0]), **normalized),
            mb.crop_resize(x=x, boxes=np.float32([[1, 1, 2, 2]]), **plain),
            mb.crop_resize(x=x, boxes=np.float32([[2, 2, 1, 1]]), **plain),
            mb.crop_resize(x=x, boxes=np.float32([[1, 1, 2, 2]]), sampling_mode="ALIGN_CORNERS"),
        ]

    expected = [
        [3.1, 5.2, 10.0, 10.0, 10.0, 7.9, 10.0, 13.9, 2.2, 3.1, 9.4, 10.3],
        [6, 7, 10, 11],
        [11, 10, 7, 6],
        [8.5],
    ]
    for want, (_, found) in zip(expected, evaluate(build, inputs={"x": SIXTEEN}), strict=True):
        np.testing.assert_allclose(found.reshape(-1), want, rtol=1e-5)


def test_crop_resize_with_offset_corners_is_roi_align(evaluate: Any) -> None:
    """Bins of one sample in their middle; torchvision's figure for this box by its formula."""
    roi = np.float32([0, 1, 0.5, 5, 4.5]).reshape(1, 1, 5, 1, 1)

    def build(mb: Any, x: Any) -> Any:
        order = {"box_coordinate_mode": "CORNERS_WIDTH_FIRST", "sampling_mode": "OFFSET_CORNERS"}
        return mb.crop_resize(x=x, roi=roi, target_height=2, target_width=4, **order)

    ((_, found),) = evaluate(build, "iOS16", inputs={"x": IMAGE[:1]})
    rows, columns = 0.5 + (np.arange(2) + 0.5) * 2, 1 + (np.arange(4) + 0.5) * 1
    grid = np.stack(np.meshgrid(columns / 7 * 2 - 1, rows / 5 * 2 - 1), -1)[None].astype(np.float32)
    expected = F.grid_sample(TENSOR[:1], torch.from_numpy(grid), align_corners=True).numpy()
    np.testing.assert_allclose(found[0], expected, **CLOSE)


def test_blocks_move_as_in_pytorch_and_tensorflow(evaluate: Any) -> None:
    x = _random(8, 8, 4, 6)
    blocks = {"block_shape": [2, 2]}

    def build(mb: Any, x: Any) -> list[Any]:
        return [
            mb.pixel_shuffle(x=x, upscale_factor=2),
            mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
            mb.depth_to_space(x=x, block_size=2),
            mb.space_to_depth(x=x, block_size=2),
            mb.space_to_batch(x=x, paddings=[[1, 1], [0, 2]], **blocks),
            mb.batch_to_space(x=x, crops=[[1, 0], [0, 3]], **blocks),
        ]

    found = [array for _, array in evaluate(build, "iOS16", inputs={"x": x})]
    tensor = torch.from_numpy(x)
    np.testing.assert_array_equal(found[0], F.pixel_shuffle(tensor, 2))
    np.testing.assert_array_equal(found[1], F.pixel_unshuffle(tensor, 2))
    # Element (i, j) of a block, by the definitions of TensorFlow's operations.
    for i in (0, 1):
        for j in (0, 1):
            part = 2 * i + j
            np.testing.assert_array_equal(found[2][:, :, i::2, j::2], x[:, 2 * part : 2 * part + 2])
            np.testing.assert_array_equal(found[3][:, 8 * part : 8 * part + 8], x[:, :, i::2, j::2])
            padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 2)))
            np.testing.assert_array_equal(found[4][8 * part : 8 * part + 8], padded[:, :, i::2, j::2])
            full = np.zeros((2, 8, 8, 12), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            full[:, :, i::2, j::2] = x[2 * (2 * i + j) : 2 * (2 * i + j) + 2]
    np.testing.assert_array_equal(found[5], full[:, :, 1:, : 12 - 3])
