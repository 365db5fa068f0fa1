from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_onnx import WriteModel, make_model


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """Writes the model that `make_model` builds from the same arguments."""

    def write(nodes: Sequence[onnx.NodeProto] | None = None, **options: Any) -> Path:
        path = tmp_path / "model.onnx"
        path.write_bytes(make_model(nodes, **options).SerializeToString())
        return path

    return write
