"""STFT becomes a convolution or a product with the matrix of its transform, the window included.

    STFT(x [b, n], step, window)  ==>  Reshape [b, n / g, g] --> Conv(stride step / g) --> Reshape [b, frames, bins, 2]
    STFT(x [b, n], step, window)  ==>  Gather of the frames --> MatMul --> Reshape [b, frames, bins, 2]

Where step and frame length have a common divisor g of at least 8, g samples become the channels of one place and the
convolution reads every sample where it lies; otherwise frames are copied out. Applies to a known number of samples,
constant step, window and frame length, as long as the matrix has at most 2^24 elements.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, constant, get_int, input_of, nodes, take_over
from edgeport.passes.fourier_matrix import LARGEST, Transform, fourier_matrix, marked
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_FEWEST_CHANNELS = 8


@register("expand_stft")
def expand_stft(model: ir.Model) -> bool:
    """Rewrites every STFT of constant parameters."""
    changed = False
    for node in nodes(model, "STFT"):
        x = node.inputs[0]
        shape = None if x is None or x.shape is None else tuple(x.shape)
        if shape is not None and len(shape) == 2:
            shape = (
                *shape,
                1,
            )  # not in the specification, but PyTorch writes real samples so, and ONNX Runtime takes it
        if x is None or shape is None or len(shape) != 3 or shape[2] not in (1, 2) or not isinstance(shape[1], int):
            continue
        step = _number(input_of(node, 1))
        window = constant(input_of(node, 2))
        length = len(window) if window is not None and window.ndim == 1 else shape[1]
        if input_of(node, 3) is not None:
            length = _number(input_of(node, 3)) or 0
        if step is None or step < 1 or not 1 <= length <= shape[1]:
            continue
        if input_of(node, 2) is not None and (window is None or window.shape != (length,)):
            continue
        onesided = bool(get_int(node, "onesided", 1))
        transform = Transform(length, length, shape[2] == 2, onesided=onesided)
        if transform.size > LARGEST or (onesided and transform.complex_input):
            continue
        matrix = fourier_matrix(transform)
        if window is not None:
            rows = np.repeat(window.astype(np.float64), transform.parts_in)
            matrix = (matrix * rows[:, None]).astype(np.float32)
        _expand(Site(model, node), x, shape[1], step, transform, matrix)
        changed = True
    return changed


def _number(value: ir.Value | None) -> int | None:
    data = constant(value)
    return None if data is None or data.size != 1 else int(data.reshape(-1)[0])


def _expand(site: Site, x: ir.Value, samples: int, step: int, transform: Transform, matrix: Array) -> None:
    frames = (samples - transform.length) // step + 1
    common = math.gcd(step, transform.length)
    if common >= _FEWEST_CHANNELS:
        product = _convolution(site, x, samples, step, frames, common, transform, matrix)
    else:
        places = np.arange(frames)[:, None] * step + np.arange(transform.length)
        copied = site.op("Gather", [x, site.constant("places", places)], "frames", axis=1)
        flat = site.reshape(copied, [-1, frames, transform.length * transform.parts_in], "flat")
        product = marked(site.op("MatMul", [flat, site.constant("matrix", matrix)], "product"))
    shape = (frames, transform.results, transform.parts_out)
    target = site.constant("shape", np.asarray([-1, *shape], np.int64))
    y = take_over(site.node.outputs[0], "Reshape", [product, target])
    if x.shape is not None:
        y.shape = ir.Shape([x.shape[0], *shape])  # onnx's inference takes an absent `onesided` for 0


def _convolution(
    site: Site, x: ir.Value, samples: int, step: int, frames: int, common: int, transform: Transform, matrix: Array
) -> ir.Value:
    """Groups of `common` samples are channels; the result is [batch, frames, results * parts]."""
    used = (frames - 1) * step + transform.length
    if used < samples:
        limits = [site.constant(role, [n]) for role, n in (("start", 0), ("end", used), ("axis", 1))]
        x = site.op("Slice", [x, *limits], "used")
    channels = common * transform.parts_in
    grouped = site.reshape(x, [-1, used // common, channels], "grouped")
    turned = site.op("Transpose", [grouped], "channels", perm=[0, 2, 1])
    kernel = matrix.reshape(transform.length // common, channels, -1).transpose(2, 1, 0)
    weights = site.constant("matrix", np.ascontiguousarray(kernel))
    result = marked(site.op("Conv", [turned, weights], "product", strides=[step // common]))
    return site.op("Transpose", [result], "bins", perm=[0, 2, 1])
