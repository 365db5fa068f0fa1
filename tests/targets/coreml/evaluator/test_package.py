"""What a package says about itself: functions, flexible shapes, images, labels, defaults."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeport.errors import ModelError
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.program import TensorType
from edgeport.targets.coreml.evaluator.run import Evaluator

Convert = Callable[..., Path]


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """convert(build, shape, **options): saves `build(mb, x)` as coremltools converts it with its own options."""
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol

    def make(build: Any, shape: tuple[int | None, ...], name: str = "m", adjust: Any = None, **options: Any) -> Path:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes = [get_new_symbol() if size is None else size for size in shape]

            @mb.program(input_specs=[mb.TensorSpec(sizes)], opset_version=ct.target.iOS17)
            def program(x: Any) -> Any:
                return build(mb, x)

            model = ct.convert(
                program,
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS17,
                compute_precision=ct.precision.FLOAT32,
                skip_model_load=True,
                **options,
            )
            if adjust is not None:
                adjust(model)
            model.save(str(tmp_path / f"{name}.mlpackage"))
        return tmp_path / f"{name}.mlpackage"

    return make


def _doubled(mb: Any, x: Any) -> Any:
    return mb.add(x=x, y=x, name="y")


def test_ranges_and_lists_of_shapes_are_kept_to(convert: Convert) -> None:
    import coremltools as ct

    ranged = ct.TensorType("x", shape=(ct.RangeDim(2, 5), 3))
    evaluator = Evaluator(convert(_doubled, (None, 3), inputs=[ranged]))
    assert evaluator.inputs == {"x": TensorType("fp32", (None, 3))}
    for count in (2, 5):
        assert evaluator.run({"x": np.ones((count, 3))}).outputs["y"].shape == (count, 3)
    for shape in ((6, 3), (1, 3), (2, 4), (2, 3, 1)):
        with pytest.raises(ModelError, match="does not admit"):
            evaluator.run({"x": np.ones(shape)})

    listed = ct.TensorType("x", shape=ct.EnumeratedShapes([(2, 3), (4, 3)]))
    evaluator = Evaluator(convert(_doubled, (None, 3), name="listed", inputs=[listed]))
    assert evaluator.run({"x": np.ones((4, 3))}).outputs["y"].shape == (4, 3)
    with pytest.raises(ModelError, match="does not admit"):
        evaluator.run({"x": np.ones((3, 3))})


def test_images_and_labels_are_described(convert: Convert) -> None:
    import coremltools as ct

    def build(mb: Any, x: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=x, axes=[2, 3]), axis=-1)

    path = convert(
        build,
        (1, 3, 4, 6),
        inputs=[ct.ImageType("x", shape=(1, 3, 4, 6), scale=0.5, bias=[1, 2, 3])],
        classifier_config=ct.ClassifierConfig(["ant", "bee", "cat"]),
    )
    evaluator = Evaluator(path)
    assert evaluator.labels == ("ant", "bee", "cat")
    assert [(feature.name, feature.kind) for feature in evaluator.features[0]] == [("x", "image")]
    assert evaluator.inputs["x"].shape == (1, 3, 4, 6)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 6)).astype(np.float32)
    outputs = evaluator.run({"x": pixels}).outputs
    logits = pixels.mean((2, 3))[0] * 0.5 + [1, 2, 3]
    wanted = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    label, table = outputs["classLabel"], next(v for name, v in outputs.items() if name != "classLabel")
    assert label.item() == evaluator.labels[int(np.argmax(wanted))]
    # Exponentials of float32 means of 24 pixels: relative errors of 1e-5 around logits of 60.
    np.testing.assert_allclose([table.item()[name] for name in evaluator.labels], wanted, rtol=1e-4, atol=1e-7)


def test_an_input_that_may_be_left_out_has_its_default(convert: Convert) -> None:
    def optional(model: Any) -> None:
        feature = model._spec.description.input[0].type
        feature.isOptional = True
        feature.multiArrayType.floatDefaultValue = 2.5

    evaluator = Evaluator(convert(_doubled, (2, 3), adjust=optional))
    np.testing.assert_array_equal(evaluator.run({}).outputs["y"], np.full((2, 3), 5.0))
    np.testing.assert_array_equal(evaluator.run({"x": np.ones((2, 3))}).outputs["y"], np.full((2, 3), 2.0))


def test_functions_share_a_file_of_weights(convert: Convert, tmp_path: Path) -> None:
    import coremltools as ct

    weight = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
    many, few = (
        convert(lambda mb, x: mb.linear(x=x, weight=weight, name="y"), (count, 3), name=f"rows{count}")
        for count in (5, 2)
    )
    with contextlib.redirect_stderr(io.StringIO()):
        description = ct.utils.MultiFunctionDescriptor()
        description.add_function(str(many), "main", "many")
        description.add_function(str(few), "main", "few")
        description.default_function_name = "few"
        ct.utils.save_multifunction(description, str(tmp_path / "both.mlpackage"))

    package = open_package(tmp_path / "both.mlpackage")
    assert (set(package.interfaces), package.default) == ({"many", "few"}, "few")
    for name, count in (("many", 5), ("few", 2), (None, 2)):
        x = np.ones((count, 3), np.float32)
        # Three products of size 1.
        np.testing.assert_allclose(
            Evaluator(package, name).run({"x": x}).outputs["y"], x @ weight.T, rtol=1e-5, atol=1e-6
        )


def test_metadata_are_read(convert: Convert) -> None:
    def sign(model: Any) -> None:
        model.author, model.short_description, model.version = "someone", "adds", "3"
        model.user_defined_metadata["edgeport.key"] = "value"

    package = open_package(convert(_doubled, (2, 3), adjust=sign))
    assert {"author": "someone", "shortDescription": "adds", "versionString": "3", "edgeport.key": "value"}.items() <= (
        package.metadata.items()
    )
    assert package.specification == 8
