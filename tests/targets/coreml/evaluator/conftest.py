"""Programs made with coremltools' builder, saved, and evaluated from the saved file."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Build = Callable[..., Any]


@pytest.fixture(scope="session")
def save() -> Callable[..., tuple[Path, list[Any]]]:
    """save(path, build, deployment, inputs, states): writes `build(mb, **inputs)`; returns the path and its values."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct = pytest.importorskip("coremltools")
        from coremltools.converters.mil.mil import Builder as mb
        from coremltools.converters.mil.mil import Function, Program, types

    codes = {"float32": types.fp32, "float16": types.fp16, "int32": types.int32}

    def write(
        path: Path,
        build: Build,
        deployment: str = "iOS17",
        inputs: Mapping[str, np.ndarray] | None = None,
        states: Mapping[str, np.ndarray] | None = None,
    ) -> tuple[Path, list[Any]]:
        held = dict(inputs or {}) or {"unused": np.zeros(1, np.float32)}
        holders = {name: mb.placeholder(shape=a.shape, dtype=codes[str(a.dtype)]) for name, a in held.items()}
        for name, array in (states or {}).items():
            holders[name] = mb.state_tensor_placeholder(shape=array.shape, dtype=codes[str(array.dtype)])
        target = getattr(ct.target, deployment)
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Function(holders, opset_version=target) as function:
                made = build(mb, **{name: var for name, var in function.inputs.items() if name != "unused"})
                values = [
                    value
                    for item in (made if isinstance(made, list) else [made])
                    for value in (item if isinstance(item, list | tuple) else [item])
                ]
                function.set_outputs([mb.identity(x=next(iter(function.inputs.values())), name="unused_out")])
                if inputs:
                    function.set_outputs(values)
            program = Program()
            program.add_function("main", function)
            model = ct.convert(
                program,
                convert_to="mlprogram",
                minimum_deployment_target=target,
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
            )
            model.save(str(path))
        return path, values

    return write


@pytest.fixture
def evaluate(
    save: Callable[..., tuple[Path, list[Any]]], tmp_path: Path
) -> Callable[..., list[tuple[Any, np.ndarray]]]:
    """evaluate(build, deployment, inputs, arithmetic): (value of the builder, array of the evaluator) for each result.

    Operations on constants stay operations in the file; the builder's `.val` is what coremltools would fold them to.
    """
    from edgeport.targets.coreml.evaluator.run import Evaluator

    def run(
        build: Build,
        deployment: str = "iOS17",
        inputs: Mapping[str, np.ndarray] | None = None,
        arithmetic: Any = "float32",
    ) -> list[tuple[Any, np.ndarray]]:
        path, values = save(tmp_path / "model.mlpackage", build, deployment, inputs)
        evaluator = Evaluator(path, arithmetic=arithmetic)
        given = dict(inputs or {}) or {"unused": np.zeros(1, np.float32)}
        found = evaluator.run(given, keep=None).values
        return [(value, np.asarray(found[value.name])) for value in values]

    return run
