"""Small real models and data that several tests use."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from small_models import small_cnn, smooth_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or leaves statistics in the user's cache."""
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    """`small_cnn` as a file."""
    path = tmp_path / "small_cnn.onnx"
    onnx.save(small_cnn(), path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """48 samples for `cnn` as an .npz."""
    path = tmp_path / "images.npz"
    np.savez(path, image=smooth_images(48, 3, 16))
    return path
