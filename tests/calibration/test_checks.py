"""Believability of calibration data: noise and constants are caught, real kinds of data are not."""

import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import smooth_images

from edgeport.calibration import check_samples, open_samples
from edgeport.calibration.checks import looks_like_noise
from edgeport.errors import CalibrationError
from edgeport.sample import InputSpec

BENCH = Path(__file__).parents[3] / "shared" / "bench"
MEAN, STD = np.array([0.485, 0.456, 0.406])[:, None, None], np.array([0.229, 0.224, 0.225])[:, None, None]


def rng(seed):
    return np.random.default_rng(seed)


NOISE = {
    "uniform": lambda r: r.random((1, 3, 64, 64), np.float32),
    "normal": lambda r: r.standard_normal((1, 3, 64, 64), np.float32),
    "grey": lambda r: r.random((1, 1, 28, 28)),
    "channels last": lambda r: r.random((1, 48, 64, 3)),
    "8-bit": lambda r: r.integers(0, 256, (1, 3, 64, 64), np.uint8),
    "8-bit, normalized by channel": lambda r: (r.integers(0, 256, (1, 3, 64, 64)) / 255 - MEAN) / STD,
    "in [-1, 1], batch of 4": lambda r: r.uniform(-1, 1, (4, 3, 32, 32)),
    "half precision": lambda r: r.standard_normal((1, 3, 64, 64)).astype(np.float16),
    "video": lambda r: r.standard_normal((1, 3, 8, 32, 32)),
    "audio": lambda r: r.standard_normal((1, 1, 16000)),
    "stereo, uniform": lambda r: r.uniform(-1, 1, (1, 2, 8000)),
    "feature map": lambda r: r.standard_normal((1, 32, 28, 28)),
}


def speech(r):
    """Voiced harmonics with a moving pitch, breath noise, pauses."""
    t = np.arange(16000) / 16000
    pitch = np.cumsum(120 + 30 * np.sin(2 * np.pi * 3 * t + r.random())) / 16000
    voiced = sum(np.sin(2 * np.pi * k * pitch) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 2 * t) > -0.3)
    return (voiced + 0.05 * r.normal(size=t.size))[None, None]


def spectrogram(r):
    wave = speech(r)[0, 0]
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160] * np.hanning(400)
    return np.log(np.abs(np.fft.rfft(frames, axis=1)) + 1e-3).T[None, None]


def embeddings(r):
    """Tokens drawn by Zipf's law from a table whose features differ in mean and scale."""
    table = r.normal(r.normal(0, 0.3, 256), np.exp(r.normal(0, 0.5, 256)), (500, 256))
    return table[np.minimum(r.zipf(1.3, 128), 500) - 1][None]


def soft_photo(r):
    """1/f light, clipped highlights and sensor noise."""
    image = smooth_images(1, 3, 96, int(r.integers(1 << 30)))
    return np.clip(0.5 + 0.25 * image, 0, 1) + r.normal(0, 0.02, image.shape)


REAL = {
    "photo": soft_photo,
    "rough photo": lambda r: smooth_images(1, 3, 64, 5) + r.normal(0, 0.7, (1, 3, 64, 64)),
    "small image": lambda r: smooth_images(1, 1, 28, 6),
    "8-bit photo": lambda r: np.clip(128 + 50 * smooth_images(1, 3, 64, 7), 0, 255).astype(np.uint8),
    "line art": lambda r: (np.indices((64, 64)).sum(0) // 8 % 2)[None, None].astype(np.float32),
    "binary mask": lambda r: (smooth_images(1, 1, 64, 8) > 0).astype(np.float32),
    "speech": speech,
    "spectrogram": spectrogram,
    "embeddings": embeddings,
    "embeddings as rank 4": lambda r: embeddings(r)[:, None],
    "random embeddings": lambda r: r.normal(size=(1, 128, 256)),
    "token ids": lambda r: r.integers(0, 30000, (1, 128)),
    "token ids, rank 3": lambda r: r.integers(0, 30000, (1, 4, 4096)),
    "features": lambda r: r.normal(size=(1, 2048)),
    "recurrent state": lambda r: r.normal(size=(2, 1, 512)),
    "attention mask": lambda r: np.triu(np.full((128, 128), -1e4))[None, None],
    "rectified feature map": lambda r: np.maximum(smooth_images(1, 32, 28, 9), 0),
    "blank": lambda r: np.zeros((1, 3, 32, 32)),
    "few pixels": lambda r: r.random((1, 3, 4, 4)),
}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_recognized(name):
    # Each sign allows 5 standard errors, so that 20 seeds never fail by chance.
    assert all(looks_like_noise(NOISE[name](rng(seed))) for seed in range(20))


@pytest.mark.parametrize("name", REAL)
def test_real_kinds_of_data_are_not_noise(name):
    assert not any(looks_like_noise(REAL[name](rng(seed))) for seed in range(8))


def source_of(arrays, dtype="float32"):
    spec = InputSpec("x", dtype, arrays[0].shape)
    return open_samples([{"x": a.astype(dtype)} for a in arrays], [spec])


def test_noise_is_refused_unless_insisted_on():
    source = source_of([NOISE["uniform"](rng(i)) for i in range(20)])
    with pytest.raises(CalibrationError, match="'x' looks like random numbers.*--allow-suspicious-data"):
        check_samples(source)
    assert [f.code for f in check_samples(source, allow_suspicious=True)] == ["noise-like-data"]


def test_one_real_sample_clears_the_rest():
    arrays = [NOISE["uniform"](rng(i)) for i in range(20)]
    arrays[3] = smooth_images(1, 3, 64)
    assert check_samples(source_of(arrays)) == []


def test_constants_are_refused_unless_insisted_on():
    photo = smooth_images(1, 3, 32)
    for arrays in ([photo] * 20, [np.full((1, 3, 8, 8), i, np.float32) for i in range(20)], [np.zeros((1, 3, 8, 8))]):
        source = source_of(arrays)
        with pytest.raises(CalibrationError, match="same|constant"):
            check_samples(source)
        assert "constant-data" in [f.code for f in check_samples(source, allow_suspicious=True)]


def test_a_constant_second_input_is_only_mentioned():
    specs = [InputSpec("ids", "int64", (1, 8)), InputSpec("mask", "int64", (1, 8))]
    samples = [{"ids": rng(i).integers(0, 99, (1, 8)), "mask": np.ones((1, 8), int)} for i in range(20)]
    found = check_samples(open_samples(samples, specs))
    assert [(f.severity, f.code) for f in found] == [("info", "constant-input")]
    assert "'mask'" in found[0].message


def test_few_samples_are_a_warning_and_none_an_error():
    images = smooth_images(16, 3, 32)[:, None]
    assert check_samples(source_of(list(images))) == []
    assert [f.code for f in check_samples(source_of(list(images[:15])))] == ["few-calibration-samples"]
    with pytest.raises(CalibrationError, match="no samples"):
        check_samples(open_samples([], [InputSpec("x", "float32", (1, 3))]))


def test_a_bounded_number_of_samples_is_looked_at():
    made = []

    def images():
        for i in range(200):
            made.append(i)
            yield {"x": smooth_images(1, 1, 8, i)}

    source = open_samples(images, [InputSpec("x", "float32", (1, 1, 8, 8))])
    assert len(source) == 200
    made.clear()
    check_samples(source)
    # 32 from the start; a callable is then run through to its last 32.
    assert len(made) <= 32 + 200 + 1


@pytest.mark.skipif(not BENCH.exists(), reason="the shared bench models and data are not on this machine")
@pytest.mark.parametrize("name", ["fmnist_ds", "rxn_albert", "crepe", "silero_vad", "g2p"])
def test_real_data_passes(name, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    samples = sys.modules.get("bench") or __import__("bench")
    case = samples.CASES[name]()
    specs = [InputSpec(n, a.dtype.name, a.shape) for n, a in case.calibration[0].items()]
    found = check_samples(open_samples(case.calibration, specs))
    assert {f.severity for f in found} <= {"info"}
