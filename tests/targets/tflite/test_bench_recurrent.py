"""Real recurrent models with labelled data, where they are on this machine: the metric of the int8 file in LiteRT."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeport

BENCH = Path(__file__).parents[4] / "shared" / "bench"


def load_case(name: str) -> Any:
    """A case of the benchmark: model, calibration samples, metric."""
    path = BENCH / "bench.py"
    if not path.exists():
        pytest.skip("the real models are not on this machine")
    pytest.importorskip("scipy", reason="the benchmark reads its audio with scipy")
    spec = importlib.util.spec_from_file_location("bench", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "bench", module)  # its dataclasses look their module up there
        spec.loader.exec_module(module)
        return module.CASES[name]()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("silero_vad", 0.88, 1.0),  # float 0.917
        ("g2p", 0.0, 0.10),  # phoneme error rate; float 0.095
    ],
)
def test_int8_keeps_the_metric(tmp_path: Path, name: str, least: float, most: float) -> None:
    case = load_case(name)
    data = {
        key: np.concatenate([s[key] if s[key].shape[:1] == (1,) else s[key][None] for s in case.calibration])
        for key in case.calibration[0]
    }
    np.savez(tmp_path / "calib.npz", **data)
    out = tmp_path / "out"
    result = edgeport.export(case.model, target="tflite", calib=tmp_path / "calib.npz", out=out, validate=False)
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    names = [value.name for value in onnx.load(case.model).graph.output]
    engine = Interpreter(str(result.artifacts["tflite"]), num_threads=1).get_signature_runner("serving_default")

    def run(sample: dict[str, np.ndarray]) -> list[np.ndarray]:
        arrays = engine(**{key: np.asarray(array) for key, array in sample.items()})
        return [arrays[n] for n in names]

    (value,) = case.metric(run).values()
    assert least <= value <= most
