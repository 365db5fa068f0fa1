"""GridSample is written with GatherElements and a weighted sum, for parsers that lack it or know it of images only.

    grid --> coordinate of each axis --> Floor --> taps [N,k,P] and their weights [N,k,P]
    taps of all axes --> one index [N,1,k*k*P] --> Expand --> GatherElements(x [N,C,H*W]) --> Mul(weights) --> ReduceSum

k taps an axis: 1 nearest, 2 linear, 4 cubic; P places of the output. The arithmetic is ONNX Runtime's: coordinates are
clipped or reflected, then the taps. Needs known shapes and images of less than 2^24 elements, as indices are counted
in float32. ONNX operator GridSample-22; Keys 1981, equation 15, with a = -0.75.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_LARGEST = 2**24
_A = -0.75
_NEAR = (1.0, 0.0, -(_A + 3), _A + 2)
_FAR = (-4 * _A, 8 * _A, -5 * _A, _A)
_TAPS = {"nearest": [0], "linear": [0, 1], "cubic": [-1, 0, 1, 2]}


@register("expand_grid_sample")
def expand_grid_sample(model: ir.Model) -> bool:
    """Expands every GridSample of float32 and known shapes."""
    changed = False
    for node in nodes(model, "GridSample"):
        x, shape, grid = node.inputs[0], static_shape(node.inputs[0]), static_shape(node.inputs[1])
        if x is None or x.dtype != ir.DataType.FLOAT or shape is None or grid is None:
            continue
        mode = get_str(node, "mode", "linear")
        if math.prod(shape[2:]) >= _LARGEST or not math.prod(grid) or mode not in _TAPS:
            continue
        _expand(Site(model, node), shape, grid, mode)
        changed = True
    return changed


@dataclass(frozen=True)
class _Axis:
    """One axis of the image: where new nodes go, its number, its length, and the limits that reflect."""

    site: Site
    number: int
    length: int
    low: float
    high: float

    def op(self, op_type: str, inputs: list[ir.Value | float], role: str) -> ir.Value:
        """A node; numbers become constants."""
        named = f"axis{self.number}/{role}"
        values = [
            v if isinstance(v, ir.Value) else self.site.constant(f"{named}/{i}", np.float32(v))
            for i, v in enumerate(inputs)
        ]
        return self.site.op(op_type, values, named)

    def clipped(self, value: ir.Value, role: str) -> ir.Value:
        """Within the data."""
        return self.op("Clip", [value, 0.0, self.length - 1.0], role)

    def reflected(self, value: ir.Value, role: str) -> ir.Value:
        """Folded back at both limits until it lies between them."""
        span = self.high - self.low
        if span <= 0:
            return self.op("Mul", [value, 0.0], role)
        way = self.op("Abs", [self.op("Sub", [value, self.low], f"{role}/from")], f"{role}/way")
        rounds = self.op("Floor", [self.op("Div", [way, 2 * span], f"{role}/turns")], f"{role}/rounds")
        rest = self.op("Sub", [way, self.op("Mul", [rounds, 2 * span], f"{role}/whole")], f"{role}/rest")
        back = self.op("Sub", [2 * span, rest], f"{role}/back")
        return self.op("Add", [self.op("Min", [rest, back], f"{role}/least"), self.low], role)


def _expand(site: Site, shape: tuple[int, ...], grid: tuple[int, ...], mode: str) -> None:
    node, n, places = site.node, len(shape) - 2, math.prod(grid[1:-1])
    padding, corners = get_str(node, "padding_mode", "zeros"), bool(get_int(node, "align_corners", 0))
    given = node.inputs[1]
    assert given is not None, "GridSample has a grid"
    flat = site.reshape(given, (grid[0], places, n), "places")
    index: ir.Value | None = None
    weights: ir.Value | None = None
    for number in range(n):
        length = shape[2 + number]
        low, high = (0.0, length - 1.0) if corners else (-0.5, length - 0.5)
        axis = _Axis(site, number, length, low, high)
        column = site.constant(f"axis{number}/component", np.asarray([n - 1 - number], np.int64))
        component = site.op("Gather", [flat, column], f"axis{number}/normalized", axis=2)
        row = site.reshape(component, (grid[0], 1, places), f"axis{number}/row")
        taps, shares = _taps(axis, _coordinate(axis, row, corners, mode, padding), mode, padding)
        count = len(_TAPS[mode])
        view = (grid[0], *(count if a == number else 1 for a in range(n)), places)
        stride = math.prod(shape[3 + number :])
        part = axis.op("Mul", [site.reshape(taps, view, f"axis{number}/view"), float(stride)], "offset")
        index = part if index is None else site.op("Add", [index, part], f"axis{number}/index")
        if shares is not None:
            share = site.reshape(shares, view, f"axis{number}/shares")
            weights = share if weights is None else site.op("Mul", [weights, share], f"axis{number}/weights")
    assert index is not None
    total = len(_TAPS[mode]) ** n
    whole = site.op("Cast", [index], "integers", to=int(ir.DataType.INT64))
    line = site.reshape(whole, (grid[0], 1, total * places), "line")
    every = site.constant("every", np.asarray((grid[0], shape[1], total * places), np.int64))
    source = node.inputs[0]
    assert source is not None
    picked = site.op("Expand", [line, every], "indices")
    found = site.op("GatherElements", [site.reshape(source, (*shape[:2], -1), "pixels"), picked], "found", axis=2)
    if weights is not None:
        found = site.reshape(found, (grid[0], shape[1], total, places), "taps")
        found = site.op("Mul", [found, site.reshape(weights, (grid[0], 1, total, places), "shares")], "weighted")
        axes = site.constant("summed", np.asarray([2], np.int64))
        found = site.op("ReduceSum", [found, axes], "sum", keepdims=0)
    target = np.asarray((grid[0], shape[1], *grid[1:-1]), np.int64)
    take_over(node.outputs[0], "Reshape", [found, site.constant("shape", target)])


def _coordinate(axis: _Axis, row: ir.Value, corners: bool, mode: str, padding: str) -> ir.Value:
    """Where the places lie on the axis, in elements; [N, 1, P]."""
    raised = axis.op("Add", [row, 1.0], "raised")
    if corners:
        value = axis.op("Mul", [axis.op("Mul", [raised, 0.5], "half"), axis.length - 1.0], "coordinate")
    else:
        scaled = axis.op("Sub", [axis.op("Mul", [raised, float(axis.length)], "long"), 1.0], "double")
        value = axis.op("Mul", [scaled, 0.5], "coordinate")
    if mode == "nearest":
        value = axis.op("Round", [value], "nearest")
    if padding == "border" and mode != "cubic":  # there the taps are clipped one by one
        return axis.clipped(value, "bounded")
    return axis.reflected(value, "reflected") if padding == "reflection" else value


def _taps(axis: _Axis, value: ir.Value, mode: str, padding: str) -> tuple[ir.Value, ir.Value | None]:
    """Elements that are read and their weights, [N, k, P] as floats."""
    steps = np.asarray(_TAPS[mode], np.float32).reshape(1, -1, 1)
    shares: ir.Value | None = None
    taps = value
    if mode != "nearest":
        floor = axis.op("Floor", [value], "floor")
        step = axis.site.constant(f"axis{axis.number}/steps", steps)
        rest = axis.op("Sub", [value, floor], "rest")
        distance = axis.op("Abs", [axis.op("Sub", [rest, step], "beside")], "distance")
        shares = axis.op("Sub", [1.0, distance], "share") if mode == "linear" else _cubic(axis, distance)
        taps = axis.op("Add", [floor, step], "taps")
    if padding == "reflection" and mode == "cubic":
        taps = axis.reflected(taps, "taps_reflected")
    inside = axis.clipped(taps, "inside")
    if padding == "zeros":
        same = axis.op("Equal", [inside, taps], "is_inside")
        present = axis.site.op("Cast", [same], f"axis{axis.number}/present", to=int(ir.DataType.FLOAT))
        shares = present if shares is None else axis.op("Mul", [shares, present], "share_inside")
    return inside, shares


def _cubic(axis: _Axis, distance: ir.Value) -> ir.Value:
    """Keys' polynomials in the distance, one a tap."""
    columns = np.asarray([_FAR, _NEAR, _NEAR, _FAR], np.float32).T.reshape(4, 1, 4, 1)
    terms = [axis.site.constant(f"axis{axis.number}/power{i}", column) for i, column in enumerate(columns)]
    value = terms[3]
    for i in (2, 1, 0):
        value = axis.op("Add", [axis.op("Mul", [value, distance], f"times{i}"), terms[i]], f"plus{i}")
    return value
