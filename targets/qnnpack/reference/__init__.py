"""QNNPACK's integer arithmetic in numpy, bit for bit: what torch's engine `qnnpack` computes from the same integers.

Activations are uint8 with one affine scale, weights int8 with symmetric scales (one, or one an output channel), sums
int32. Arrays have PyTorch's axes (N, C, spatial) whatever the layout in memory. `Machine` says whose float rounding
is meant where desktops and phones differ (`rounding.py` has the list). What the engine refuses is a ValueError here.

The rules were read off the sources named in each function (PyTorch's `aten/src/ATen/native/quantized/cpu`, with
QNNPACK in its folder `qnnpack/src`) and measured against torch 2.13 on x86-64; the tests repeat that. fbgemm, the other
engine, keeps a float bias and saturates inside sums, and is no stand-in for QNNPACK.
"""

from edgeport.targets.qnnpack.reference.concatenation import cat
from edgeport.targets.qnnpack.reference.convolution import conv
from edgeport.targets.qnnpack.reference.dynamic import choose_qparams, linear_dynamic
from edgeport.targets.qnnpack.reference.elementwise import add, mul, relu
from edgeport.targets.qnnpack.reference.linear import linear
from edgeport.targets.qnnpack.reference.pooling import adaptive_avg_pool2d, avg_pool2d, global_avg_pool, max_pool2d
from edgeport.targets.qnnpack.reference.quantization import dequantize, quantize, quantize_bias
from edgeport.targets.qnnpack.reference.rounding import Machine
from edgeport.targets.qnnpack.reference.tables import hardswish, sigmoid, tanh
from edgeport.targets.qnnpack.reference.transposed import conv_transpose

__all__ = [
    "Machine",
    "adaptive_avg_pool2d",
    "add",
    "avg_pool2d",
    "cat",
    "choose_qparams",
    "conv",
    "conv_transpose",
    "dequantize",
    "global_avg_pool",
    "hardswish",
    "linear",
    "linear_dynamic",
    "max_pool2d",
    "mul",
    "quantize",
    "quantize_bias",
    "relu",
    "sigmoid",
    "tanh",
]
