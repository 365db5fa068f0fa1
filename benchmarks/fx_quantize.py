"""torch's own way to qnnpack: FX graph mode, static int8, saved for the lite interpreter.

    python fx_quantize.py WHAT CALIBRATION OUT.ptl WEIGHTS.pt NETWORK [CLASSES SIZE]

WHAT is `tensor` (the default mapping of the engine), `channel` (the same with one scale per output channel of weights),
`contiguous` (as `channel`, with every ReLU6 mended) or `linear` (as `channel`, of linear layers only). CALIBRATION is a
folder of .npz files whose arrays are the network's arguments in their order.

torch 2.13's ReLU6 on QNNPACK takes memory in channels-last order, which its convolutions give, for contiguous: what
comes out has lost its places. A copy in between mends it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.ao.quantization import (
    QConfig,
    QConfigMapping,
    default_per_channel_weight_observer,
    get_default_qconfig,
    get_default_qconfig_mapping,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch_networks import rebuilt

_ENGINE = "qnnpack"


class _Mended(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu6(x.contiguous())


def mend(module: nn.Module) -> None:
    """Puts the copy before every ReLU6 below a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU6):
            setattr(module, name, _Mended())
        else:
            mend(child)


def mapping(what: str) -> QConfigMapping:
    """What is quantized, and how."""
    if what == "tensor":
        return get_default_qconfig_mapping(_ENGINE)
    activations = get_default_qconfig(_ENGINE).activation  # type: ignore[no-untyped-call]
    per_channel = QConfig(activations, default_per_channel_weight_observer)  # type: ignore[no-untyped-call]
    if what == "linear":
        return QConfigMapping().set_object_type(nn.Linear, per_channel)
    found = get_default_qconfig_mapping(_ENGINE)
    for layer in (nn.Conv2d, nn.Linear):
        found.set_object_type(layer, per_channel)
    return found


def main(what: str, calibration: str, out: str, weights: str, *network: str) -> None:
    warnings.simplefilter("ignore")  # that all of it is deprecated
    torch.set_num_threads(1)
    torch.backends.quantized.engine = _ENGINE
    module, example = rebuilt(weights, *network)
    if what == "contiguous":
        mend(module)
    prepared = prepare_fx(module, mapping(what), example)
    with torch.no_grad():
        for path in sorted(Path(calibration).iterdir()):
            prepared(*(torch.from_numpy(array) for array in np.load(path).values()))
        # Traced, not scripted: TorchScript does not read what FX writes for `mask[:, None, None, :]`.
        traced = torch.jit.trace(convert_fx(prepared).eval(), example)  # type: ignore[no-untyped-call]
    torch.jit.freeze(traced)._save_for_lite_interpreter(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
