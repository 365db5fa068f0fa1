"""Damaged and hostile packages end in a ModelError of one line: no traceback of another kind, no huge allocation."""

from __future__ import annotations

import json
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.evaluator.schema import model_class

X = np.ones((1, 4, 6, 6), np.float32)
MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def good(save: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weight = np.random.default_rng(9).standard_normal((8, 4, 3, 3)).astype(np.float32)

    def build(mb: Any, x: Any) -> Any:
        x = mb.relu(x=mb.conv(x=x, weight=weight, bias=weight[:, 0, 0, 0], pad_type="valid"))
        small = mb.less(x=mb.reduce_sum(x=x, axes=[0, 1, 2, 3], keep_dims=False), y=np.float32(1e9))
        x = mb.cond(pred=small, _true_fn=lambda: mb.add(x=x, y=np.float32(1)), _false_fn=lambda: mb.identity(x=x))
        return mb.add(x=x, y=mb.fill(shape=[4, 4], value=np.float32(2)), name="y")

    path, _ = save(tmp_path_factory.mktemp("good") / "m.mlpackage", build, "iOS17", {"x": X})
    assert (path / WEIGHTS).stat().st_size > 1000
    return path


@pytest.fixture
def package(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "m.mlpackage"))


def _refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        Evaluator(path).run({"x": X})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _edited(path: Path, edit: Callable[[Any], None]) -> Path:
    """The package with its model message changed."""
    message = model_class()()
    message.ParseFromString((path / MODEL).read_bytes())
    edit(message)
    (path / MODEL).write_bytes(message.SerializeToString())
    return path


def _block(message: Any) -> Any:
    function = message.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def _operation(message: Any, kind: str) -> Any:
    return next(operation for operation in _block(message).operations if operation.type == kind)


def test_the_package_itself_runs(good: Path) -> None:
    assert Evaluator(good).run({"x": X}).outputs["y"].shape == (1, 8, 4, 4)


def test_what_is_no_package(tmp_path: Path, package: Path) -> None:
    assert "no Manifest.json" in _refusal(tmp_path / "absent.mlpackage")
    (package / "Manifest.json").write_text("{")
    assert "names no model" in _refusal(package)
    (package / "Manifest.json").write_text('{"rootModelIdentifier": "a", "itemInfoEntries": []}')
    assert "names no model" in _refusal(package)


def test_paths_stay_inside(package: Path, tmp_path: Path) -> None:
    shutil.copy(package / MODEL, tmp_path / "outside.mlmodel")
    manifest = json.loads((package / "Manifest.json").read_text())
    for entry in manifest["itemInfoEntries"].values():
        entry["path"] = "../../outside.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))
    assert "outside of the package" in _refusal(package)


def test_weights_stay_inside(package: Path, tmp_path: Path) -> None:
    shutil.copy(package / WEIGHTS, tmp_path / "outside.bin")

    def point_outside(message: Any) -> None:
        for operation in _block(message).operations:
            for value in operation.attributes.values():
                if value.HasField("blobFileValue"):
                    value.blobFileValue.fileName = "@model_path/../../../outside.bin"

    assert "outside of the package" in _refusal(_edited(package, point_outside))


def test_truncated_models_and_weights(package: Path) -> None:
    for name in (MODEL, WEIGHTS):
        whole = (package / name).read_bytes()
        for part in range(8):
            (package / name).write_bytes(whole[: len(whole) * part // 8])
            _refusal(package)
        (package / name).write_bytes(whole)
    (package / WEIGHTS).unlink()
    assert "cannot be read" in _refusal(package)


def _cycle(message: Any) -> None:
    _operation(message, "conv").inputs["x"].arguments[0].name = _operation(message, "relu").outputs[0].name


def _twice(message: Any) -> None:
    _operation(message, "relu").outputs[0].name = _operation(message, "conv").outputs[0].name


def _unknown(message: Any) -> None:
    _operation(message, "relu").type = "relu\nforever"


def _extra(message: Any) -> None:
    conv = _operation(message, "conv")
    conv.inputs["groups_of_groups"].CopyFrom(conv.inputs["x"])


def _left_out(message: Any) -> None:
    del _operation(message, "conv").inputs["weight"]


def _wrong_shape(message: Any) -> None:
    _operation(message, "conv").outputs[0].type.tensorType.dimensions[1].constant.size = 9


def _absurd(message: Any) -> None:
    _operation(message, "relu").outputs[0].type.tensorType.dimensions[0].constant.size = 1 << 62


def _absurd_fill(message: Any) -> None:
    for operation in _block(message).operations:
        if (
            operation.outputs
            and operation.outputs[0].name == _operation(message, "fill").inputs["shape"].arguments[0].name
        ):
            operation.attributes["val"].immediateValue.tensor.ints.values[:] = [1 << 30, 1 << 30]


def _bad_offset(message: Any) -> None:
    for operation in _block(message).operations:
        if operation.type == "const" and operation.attributes["val"].HasField("blobFileValue"):
            operation.attributes["val"].blobFileValue.offset = (1 << 64) - 1


def _half_offset(message: Any) -> None:
    for operation in _block(message).operations:
        if operation.type == "const" and operation.attributes["val"].HasField("blobFileValue"):
            operation.attributes["val"].blobFileValue.offset += 8


def _other_type(message: Any) -> None:
    for operation in _block(message).operations:
        if operation.type == "const" and operation.attributes["val"].HasField("blobFileValue"):
            operation.attributes["val"].type.tensorType.dataType = 23


def _no_output(message: Any) -> None:
    _block(message).outputs.append("nothing")


def _lost_output(message: Any) -> None:
    _block(message).outputs[:] = [_operation(message, "relu").outputs[0].name]


def _neural_network(message: Any) -> None:
    message.ClearField("mlProgram")


def _no_specialization(message: Any) -> None:
    message.mlProgram.functions["main"].opset = "CoreML99"


def _undescribed(message: Any) -> None:
    del message.description.input[:]


EDITS = {
    _cycle: "which nothing before it defines",
    _twice: "defined twice",
    _unknown: "does not know this kind",
    _extra: "'groups_of_groups' is not known",
    _left_out: "'weight' is missing",
    _wrong_shape: "the program declares fp32[1, 9, 4, 4]",
    _absurd: "over",
    _absurd_fill: "is not possible",
    _bad_offset: "behind the end",
    _half_offset: "no record of a blob",
    _other_type: "elements of type fp32, not int32",
    _no_output: "which nothing defines",
    _lost_output: "the program does not return",
    _neural_network: "another kind of model",
    _no_specialization: "no block for its opset",
    _undescribed: "is not described",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__.strip("_"))
def test_contradictions_are_named(package: Path, edit: Callable[[Any], None]) -> None:
    assert EDITS[edit] in _refusal(_edited(package, edit))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No more than 2 GiB beyond what the process has: a huge allocation fails."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def test_flipped_bytes_never_end_otherwise(package: Path, little_memory: None) -> None:
    """Bytes overwritten at random places: evaluated all the same, or a ModelError."""
    rng = np.random.default_rng(10)
    refused = 0
    for name, rounds in ((MODEL, 250), (WEIGHTS, 40)):
        whole = (package / name).read_bytes()
        for _ in range(rounds):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                damaged[place] = int(rng.integers(0, 256))
            (package / name).write_bytes(damaged)
            try:
                Evaluator(package).run({"x": X})
            except ModelError:
                refused += 1
        (package / name).write_bytes(whole)
    assert refused > 50


def test_wrong_inputs_are_refused(good: Path) -> None:
    evaluator = Evaluator(good)
    for inputs, message in (
        ({}, "'x' of type fp32[1, 4, 6, 6] is missing"),
        ({"x": X, "z": X}, "no input 'z'"),
        ({"x": X[:, :3]}, "has shape [1, 3, 6, 6]"),
        ({"x": X > 0}, "of type bool"),
    ):
        with pytest.raises(ModelError, match=re.escape(message)):
            evaluator.run(inputs)
    with pytest.raises(ModelError, match="no function 'other'; it has main"):
        Evaluator(open_package(good), "other")
