"""Damaged models end in a correct file or in one line: a little of what `python -m tests.mutations` does at length."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from mutations.__main__ import fixed
from mutations.mutate import mutate
from small_models import small_cnn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="every case runs in a forked process")

GRU = """<ir_version: 8, opset_import: ["" : 17]> gru (float[1,6,4] x) => (float[1,3] y) {
    s = Transpose<perm=[1,0,2]>(x)
    all, last = GRU<hidden_size=5>(s, w, r)
    f = Squeeze(last, zero)
    c = Concat<axis=1>(f, f)
    t, rest = Split<axis=1>(c, sizes)
    n = Softmax<axis=-1>(t)
    y = Slice(n, zero, three, one)
}"""


def gru() -> onnx.ModelProto:
    """A recurrent layer between layout and shape operators, most of them with constants as inputs."""
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model(GRU)
    arrays = {"w": rng.normal(size=(1, 15, 4)).astype(np.float32), "r": rng.normal(size=(1, 15, 5)).astype(np.float32)}
    arrays |= {"zero": np.array([0]), "one": np.array([1]), "three": np.array([3]), "sizes": np.array([6, 4])}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


MODELS = {"cnn": small_cnn, "gru": gru}


def mutations(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the command in a fresh process, since it forks."""
    command = [sys.executable, "-m", "mutations", *map(str, words)]
    return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("target", "precision"), [("tflite", "fp32"), ("tflite", "int8"), ("coreml", "fp32"), ("coreai", "fp16")]
)
def test_damage_ends_in_a_correct_file_or_one_line(target: str, precision: str, tmp_path: Path) -> None:
    for name, made in MODELS.items():
        onnx.save(made(), tmp_path / f"{name}.onnx")
    count = 24 if target == "tflite" else 12
    words = ("--target", target, "--precision", precision, "--count", str(count), "--seed", "1")
    done = mutations(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = dict(reversed(part.split()) for part in done.stdout.rsplit(": ", 1)[1].split(", "))
    assert int(counted["correct"]) + int(counted["refused"]) == count
    assert int(counted["correct"]) >= 3  # the damage leaves something to export


JUDGE_ANOTHER_EXPORT = """
import sys
from pathlib import Path
from mutations.judge import judge
from edgeport import api
export, (model, other) = api.export, map(Path, sys.argv[1:3])
api.export = lambda source, **words: export(other, **words)
print(judge(model, sys.argv[3], "fp32", model.parent, 600))
"""


@pytest.mark.parametrize("target", ["tflite", "coreml", "coreai"])
def test_the_judge_sees_a_wrong_file(target: str, tmp_path: Path) -> None:
    """An export that writes the file of another model: same names and shapes, other weights."""
    first, second = fixed(small_cnn()), fixed(small_cnn())
    second.graph.initializer[0].raw_data = bytes(len(second.graph.initializer[0].raw_data))
    for folder, model in (("a", first), ("b", second)):
        (tmp_path / folder).mkdir()
        onnx.save(model, tmp_path / folder / "model.onnx")
    paths = [str(tmp_path / folder / "model.onnx") for folder in ("a", "b")]
    words = [sys.executable, "-c", JUDGE_ANOTHER_EXPORT, *paths, target]
    done = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True)
    assert "kind='wrong'" in done.stdout, done.stdout + done.stderr
    assert "differs by" in done.stdout


def test_the_same_seed_does_the_same_damage() -> None:
    first, second = (mutate(small_cnn(), np.random.default_rng([5, 6])) for _ in range(2))
    assert first == second
