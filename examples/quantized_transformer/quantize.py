"""An encoder quantized: fused, calibrated and converted; then fine-tuned with its rounding and converted again."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from encoder import Encoder
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import edgeport
from edgeport.conversion import Conversion

HERE = Path(__file__).parent
IMAGES = HERE.parent / "fashion_mnist"


def read_images(files: list[Path]) -> Tensor:
    """Images as the model was trained on them: [N, 1, 28, 28], mean 0 and variance 1."""
    pixels = np.stack([np.asarray(Image.open(file).convert("L"), np.float32) for file in files])
    return torch.from_numpy((pixels[:, None] / 255 - 0.286) / 0.353).float()


def row(name: str, result: Conversion) -> str:
    """A line of the table at the end."""
    sqnr = "-" if result.sqnr is None else f"{result.sqnr:.1f} dB"
    return f"{name:<22}{result.metrics['top1']['artifact']:>8.3f}{sqnr:>10}{result.size:>10,}"


def main() -> None:
    """Prints what was fused, the drift of both files by its causes, and a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--target", default="qnnpack")
    parser.add_argument("--steps", type=int, default=60, help="of fine-tuning")
    options = parser.parse_args()

    torch.manual_seed(0)
    model = Encoder()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(HERE / "encoder.safetensors").items()})
    model.eval()
    calibration = read_images(sorted((IMAGES / "calib").iterdir()))  # 128 images without labels
    files = sorted((IMAGES / "eval").rglob("*.png"))  # 500 images; the sorted folders are the classes in order
    classes = sorted({file.parent.name for file in files})
    held_out, labels = read_images(files), [classes.index(file.parent.name) for file in files]

    q = edgeport.QuantizedTransformer(model, bits=options.bits, target=options.target)
    fused = q.fuse_model(calibration[:1])
    print("fused:", ", ".join(f"{count} {name}" for name, count in fused.items()))

    q.prepare_quantization(calibration)
    plain = q.convert_quantization(options.out / "calibrated", data=held_out, labels=labels)
    print(plain)

    q.prepare_quantization(calibration, fine_tune=True)
    losses = q.fine_tune(options.steps)  # or a loop of your own over q.module and q.parameters()
    print(f"fine-tuned: relative error {losses[0]:.5f} -> {losses[-1]:.5f} in {len(losses)} steps")
    tuned = q.convert_quantization(options.out / "fine-tuned", data=held_out, labels=labels)
    print(tuned)

    print(f"\n{'':<22}{'top-1':>8}{'SQNR':>10}{'bytes':>10}")
    print(f"{'float32':<22}{plain.metrics['top1']['source']:>8.3f}{'':>10}{plain.float_size:>10,}")
    print(row(f"int{options.bits}", plain))
    print(row(f"int{options.bits}, fine-tuned", tuned))


if __name__ == "__main__":
    main()
