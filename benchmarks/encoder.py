"""The encoder benchmark's model: BERT-mini (4 layers, width 256, 4 heads), trained briefly on masked words.

    python benchmarks/encoder.py    makes it and prints how many masked words it gets right

Post-norm, exact GELU and an additive mask, as in Devlin et al. 2018 (arXiv:1810.04805); sizes of Turc et al. 2019
(arXiv:1908.08962). Takes `ids` and `mask`, int64 (1, 128), gives the last hidden states, float32 (1, 128, 256).
"""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from pathlib import Path
from typing import cast

import numpy as np
import torch
from texts import LENGTH, MASK, VOCABULARY, samples
from torch import Tensor, nn

HERE = Path(__file__).parent
_WIDTH, _HEADS, _LAYERS = 256, 4, 4
_STEPS, _BATCH, _RATE, _SEED = 300, 16, 2e-3, 40


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(_WIDTH, _WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.act = nn.GELU()

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = (p(x).view(n, length, _HEADS, -1).transpose(1, 2) for p in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(_WIDTH // _HEADS) + bias
        attended = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, _WIDTH)
        x = self.norm1(x + self.o(attended))
        return cast(Tensor, self.norm2(x + self.down(self.act(self.up(x)))))


class Encoder(nn.Module):
    """BERT-mini without token types and pooler."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, _WIDTH), nn.Embedding(LENGTH, _WIDTH)
        self.norm = nn.LayerNorm(_WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(_LAYERS))
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        bias = (1.0 - mask[:, None, None, :].float()) * -1e4
        x = self.norm(self.words(ids) + self.places.weight)
        for layer in self.layers:
            x = layer(x, bias)
        return cast(Tensor, x)


def onnx_model() -> Path:
    """The model as an ONNX file, opset 18."""
    path = _folder() / "bert_mini.onnx"
    if not path.exists():
        network = trained()
        partial = path.with_suffix(".partial")
        example = tuple(torch.from_numpy(a) for a in samples(2, 0)[1].values())
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, example, dynamo=True, opset_version=18, input_names=["ids", "mask"], output_names=["hidden"],
                verbose=False,
            )  # fmt: skip
        assert program is not None
        program.save(partial)
        partial.replace(path)
    return path


def weights() -> Path:
    """The trained weights as torch saves them, for converters that start from torch."""
    path = _folder() / "bert_mini.pt"
    if not path.exists():
        _train(path)
    return path


def trained() -> Encoder:
    """The trained network."""
    network = Encoder()
    network.load_state_dict(torch.load(weights(), weights_only=True))
    return network.eval()


def calibration(count: int) -> Path:
    """A folder of .npz files, one sample each."""
    folder = _folder() / f"calibration-{count}"
    folder.mkdir(exist_ok=True)
    for i, sample in enumerate(samples(count, _SEED + 1)):
        np.savez(folder / f"{i:04d}.npz", **sample)  # type: ignore[arg-type]
    return folder


def _folder() -> Path:
    sources = [(HERE / name).read_bytes() for name in ("encoder.py", "texts.py")]
    folder = HERE / ".cache" / "models" / hashlib.sha256(b"".join(sources)).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _masked(batch: list[dict[str, np.ndarray]], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids with 15 % of the words masked, the mask, and the labels (-100 where nothing is asked)."""
    ids = np.concatenate([s["ids"] for s in batch])
    mask = np.concatenate([s["mask"] for s in batch])
    chosen = (np.random.default_rng(seed).random(ids.shape) < 0.15) & (mask == 1)
    labels = np.where(chosen, ids, -100)
    return torch.from_numpy(np.where(chosen, MASK, ids)), torch.from_numpy(mask), torch.from_numpy(labels)


def _train(path: Path) -> None:
    torch.manual_seed(_SEED)
    network = Encoder().train()
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS, pct_start=0.2)
    for step in range(_STEPS):
        ids, mask, labels = _masked(samples(_BATCH, _SEED + 100 + step), step)
        loss = nn.functional.cross_entropy(_words(network, ids, mask, labels), labels[labels >= 0])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    partial = path.with_suffix(".partial")
    torch.save(network.state_dict(), partial)
    partial.replace(path)


def _words(network: Encoder, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Scores of the words at the masked places, by the embedding's own weights."""
    hidden: Tensor = network(ids, mask)
    return hidden[labels >= 0] @ network.words.weight.T


def main() -> None:
    network = trained()
    ids, mask, labels = _masked(samples(128, _SEED + 2, held_out=True), 0)
    with torch.no_grad():
        right = (_words(network, ids, mask, labels).argmax(-1) == labels[labels >= 0]).float().mean()
    print(f"{onnx_model().name}: {right:.3f} of the masked words of held-out text")


if __name__ == "__main__":
    main()
