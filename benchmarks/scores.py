"""What every sample adds to a case's metric, over as many held-out samples as the case's data have.

A metric alone cannot tell a difference from noise. Here it is the sum of the samples' points over the sum of what could
be had, so that two files that ran the same samples can be compared in pairs (paired.py). Cases of models.py have images
without end; of the real models those are known whose data lie in the bench folder. A case that is not has its metric.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from accuracy import bench_folder
from images import labelled_images
from models import INPUT, SPECS
from ranged import Run

Points = npt.NDArray[np.float64]
"""Of every sample, (samples, 2): its points, and how many there were to be had."""

_IMAGES, _LARGE_IMAGES, _LARGE = 4000, 2000, 224
_CHUNK, _FIRST_CHUNK = 250, 22_000_000
"""Images come in chunks, chunk i from seed `_FIRST_CHUNK` + i; training and calibration have other seeds."""
_CALIBRATED = 64
"""So many samples of the real models' data, the first ones, are calibrated on."""
_SEPARATORS, _MASK, _MASKED, _MASKINGS = 14, 14, 0.15, 4
_WORDS_CALIBRATED, _LONGEST, _END, _START = 30, 20, 3, 2


@dataclass(frozen=True)
class Scored:
    """A metric's name, the unit that it counts, whether more is better, and what gives every file's points."""

    metric: str
    unit: str
    higher_is_better: bool
    points: Callable[[Mapping[str, Run]], Mapping[str, Points]]


def scored(case: str) -> Scored | None:
    """How a case is scored by sample, None where that is not known."""
    if case in SPECS:
        return Scored("top1", "images", True, lambda runs: _made_images(case, runs))
    folder, known = bench_folder(), _REAL.get(case)
    if folder is None or known is None:
        return None
    (metric, unit, higher_is_better), read = known
    score = read(folder)
    return Scored(metric, unit, higher_is_better, lambda runs: {tool: score(run) for tool, run in runs.items()})


def _made_images(name: str, runs: Mapping[str, Run]) -> Mapping[str, Points]:
    """Points of all files chunk by chunk: the images of a whole case are gigabytes."""
    size = SPECS[name].size
    count = _LARGE_IMAGES if size >= _LARGE else _IMAGES
    right: dict[str, list[bool]] = {tool: [] for tool in runs}
    for chunk in range(count // _CHUNK):
        images, labels = labelled_images(_CHUNK, size, _FIRST_CHUNK + chunk)
        for tool, run in runs.items():
            right[tool] += [run({INPUT: a[None]})[0].argmax() == b for a, b in zip(images, labels, strict=True)]
    return {tool: _each(values) for tool, values in right.items()}


def _each(right: Sequence[bool | np.bool_]) -> Points:
    return np.stack([np.array(right, np.float64), np.ones(len(right))], axis=1)


def _fmnist(folder: Path) -> Callable[[Run], Points]:
    data = np.load(folder / "fmnist" / "fmnist_eval.npz")
    images = ((data["x"][:, None].astype(np.float32) / 255 - 0.286) / 0.353).astype(np.float32)
    labels = data["y"]
    return lambda run: _each([run({"input": a[None]})[0].argmax() == b for a, b in zip(images, labels, strict=True)])


def _rxn_albert(folder: Path) -> Callable[[Run], Points]:
    """Masked tokens of a reaction that are found; every reaction is also masked anew, elsewhere, from a seed."""
    data = np.load(folder / "rxn_albert" / "rxn_mlm.npz")
    masked, mask, labels = (data[n][_CALIBRATED:].astype(np.int64) for n in ("input_ids", "attention_mask", "labels"))
    whole = np.where(labels >= 0, labels, masked)
    order = np.random.default_rng(0)
    chosen = [labels >= 0]
    chosen += [(order.random(whole.shape) < _MASKED) & (whole > _SEPARATORS) for _ in range(_MASKINGS - 1)]

    def score(run: Run) -> Points:
        points = np.zeros((len(whole), 2))
        for places in chosen:
            for i, here in enumerate(places):
                ids = np.where(here, _MASK, whole[i])[None]
                guessed = np.asarray(run({"input_ids": ids, "attention_mask": mask[i : i + 1]})[0])[0].argmax(-1)
                points[i] += (guessed[here] == whole[i][here]).sum(), here.sum()
        return points

    return score


def _crepe(folder: Path) -> Callable[[Run], Points]:
    data = np.load(folder / "crepe" / "crepe_frames.npz")
    frames, pitches = data["x"][_CALIBRATED:].astype(np.float32), data["f0"][_CALIBRATED:]
    cents = 20 * np.arange(360) + 1997.3794084376191

    def right(run: Run, frame: npt.NDArray[np.float32], pitch: float) -> bool:
        found = np.asarray(run({"frame": frame[None]})[0])[0]
        near = slice(max(0, int(found.argmax()) - 4), int(found.argmax()) + 5)
        hertz = 10 * 2 ** ((found[near] * cents[near]).sum() / found[near].sum() / 1200)
        return bool(abs(1200 * np.log2(hertz / pitch)) < 50)

    return lambda run: _each([right(run, a, b) for a, b in zip(frames, pitches, strict=True)])


def _silero_vad(folder: Path) -> Callable[[Run], Points]:
    """Probability in speech minus probability in noise: frames weigh so that their mean is the difference of means."""
    from scipy.io import wavfile

    wave = (wavfile.read(folder / "silero_vad" / "wakeword_10s_mono.wav")[1] / 32768.0).astype(np.float32)
    padded = np.r_[np.zeros(64, np.float32), wave]
    frames = [padded[i : i + 576][None] for i in range(0, len(wave) - 511, 512)]
    speech = np.zeros(len(frames), bool)
    for first, last in ((1.02, 1.70), (4.16, 4.77), (7.01, 7.36)):
        speech[int(first / 0.032) : int(last / 0.032)] = True
    weights = np.where(speech, len(speech) / speech.sum(), -len(speech) / (~speech).sum())

    def score(run: Run) -> Points:
        state, found = np.zeros((2, 1, 128), np.float32), []
        for frame in frames:
            probability, state = (np.asarray(array) for array in run({"input": frame, "state": state})[:2])
            found.append(float(np.ravel(probability)[0]))
        return np.stack([np.array(found) * weights, np.ones(len(frames))], axis=1)

    return score


def _g2p(folder: Path) -> Callable[[Run], Points]:
    """Phonemes wrong in a word, decoded step by step, of those of its nearest pronunciation."""
    import onnxruntime as ort

    here = folder / "g2p"
    words = json.loads((here / "cmu1000.json").read_text())
    phonemes = json.loads((here / "phonemes.json").read_text())
    letters = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
    encoder = ort.InferenceSession(here / "g2p_enc.onnx", providers=["CPUExecutionProvider"])
    held = list(words)[_WORDS_CALIBRATED:]
    states = [encoder.run(None, {"graphemes": np.array([[letters.index(c) for c in w] + [2]])})[0] for w in held]

    def decoded(run: Run, state: npt.NDArray[np.float32]) -> list[str]:
        token, found = np.array([_START]), []
        for _ in range(_LONGEST):
            scores, state = (np.asarray(array) for array in run({"tok": token, "h": state})[:2])
            token = scores.argmax(1)
            if token[0] == _END:
                break
            found.append(phonemes[token[0]])
        return found

    def score(run: Run) -> Points:
        points = []
        for word, state in zip(held, states, strict=True):
            got = decoded(run, state)
            wrong = [(_distance(got, wanted.split()), len(wanted.split())) for wanted in words[word]]
            points.append(min(wrong, key=lambda found: found[0]))
        return np.array(points, np.float64)

    return score


def _distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein's edit distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        above, row[0] = row[:], i + 1
        for j, y in enumerate(b):
            row[j + 1] = min(above[j + 1] + 1, row[j] + 1, above[j] + (x != y))
    return row[-1]


_REAL: Mapping[str, tuple[tuple[str, str, bool], Callable[[Path], Callable[[Run], Points]]]] = {
    "fmnist_ds": (("top1", "images", True), _fmnist),
    "fmnist_vit": (("top1", "images", True), _fmnist),
    "rxn_albert": (("masked_token_accuracy", "reactions", True), _rxn_albert),
    "crepe": (("rpa50c", "frames", True), _crepe),
    "silero_vad": (("speech_minus_noise", "frames", True), _silero_vad),
    "g2p": (("phoneme_error_rate", "words", False), _g2p),
}
