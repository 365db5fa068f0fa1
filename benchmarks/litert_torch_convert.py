"""Runs inside litert-torch's own environment: a float .tflite straight from torch.

python litert_torch_convert.py WEIGHTS.pt OUT.tflite NETWORK [CLASSES SIZE]

NETWORK is `encoder` or a function of networks.py, which take images, here channels last.
"""

from __future__ import annotations

import sys

import litert_torch  # type: ignore[import-not-found]
import torch


def main(weights: str, out: str, name: str, classes: str = "", size: str = "") -> None:
    network: torch.nn.Module
    example: tuple[torch.Tensor, ...]
    if name == "encoder":
        from encoder import Encoder
        from texts import samples

        network = Encoder()
        example = tuple(torch.from_numpy(a) for a in samples(2, 0)[1].values())
    else:
        import networks

        network = getattr(networks, name)(int(classes))
        example = (torch.zeros(1, 3, int(size), int(size)),)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.eval()
    if name != "encoder":
        network = litert_torch.to_channel_last_io(network, args=[0])
        example = (example[0].permute(0, 2, 3, 1).contiguous(),)
    litert_torch.convert(network, example).export(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
