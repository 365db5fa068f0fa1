"""PyTorch's own way to ExecuTorch: pt2e with XNNPACK's quantizer, static int8 with a scale per channel, or float.

    python pt2e_quantize.py WHAT CALIBRATION OUT.pte WEIGHTS.pt NETWORK [CLASSES SIZE]

WHAT is `all`, `linear` (linear layers only) or `float` (nothing). CALIBRATION is a folder of .npz files whose arrays
are the network's arguments in their order.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torch_networks import rebuilt


def quantized(module: nn.Module, example: tuple[torch.Tensor, ...], what: str, calibration: Path) -> nn.Module:
    """The network with its Q/DQ, ranges taken from all samples."""
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    scheme, quantizer = get_symmetric_quantization_config(is_per_channel=True), XNNPACKQuantizer()
    quantizer = quantizer.set_global(scheme) if what == "all" else quantizer.set_module_type(nn.Linear, scheme)
    prepared = prepare_pt2e(torch.export.export(module, example).module(), quantizer)
    with torch.no_grad():
        for path in sorted(calibration.iterdir()):
            prepared(*(torch.from_numpy(array) for array in np.load(path).values()))
    converted: nn.Module = convert_pt2e(prepared)
    return converted


def main(what: str, calibration: str, out: str, weights: str, *network: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    module, example = rebuilt(weights, *network)
    if what != "float":
        module = quantized(module, example, what, Path(calibration))
    program = torch.export.export(module, example)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    Path(out).write_bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
