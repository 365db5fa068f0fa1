"""coremltools, and the only module that imports it: MIL programs through its builder.

The toolchain talks on stderr (missing macOS libraries, progress bars, untested versions of packages that are not
used here); all of it is silenced.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeport.sample import Array

Var = Any
"""A MIL value (`coremltools.converters.mil.mil.Var`): has `.name`, `.shape`, `.dtype`, and `.val` if it is constant."""

PASSES = (
    "common::const_elimination",
    "common::const_deduplication",
    "common::dead_code_elimination",
    "common::dedup_op_and_var_names",
)
"""What coremltools does to a program: it only cleans up. Fusions and precisions are decided before."""

_DEFAULT_THRESHOLD = 100
"""Elements from which on coremltools lets equal constants be one, kept for who else uses it in this process."""


_NO_STATES: Mapping[str, Sequence[int]] = {}


class BuilderError(Exception):
    """coremltools' builder declines an operation; the message is its reason."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, warnings or logs meanwhile."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@functools.cache
def coremltools() -> Any:
    """The package. Who wants to convert torch models by it in the same process imports torch first."""
    with quiet(), _without_converters():
        import coremltools as package
        import coremltools.converters.mil.mil  # the builder
    return package


_FOREIGN = ("torch", "tensorflow", "scipy", "sklearn", "xgboost")
"""What coremltools imports where it finds it, for converters not used here: torch takes two seconds, scipy 0.2."""


@contextlib.contextmanager
def _without_converters() -> Iterator[None]:
    """Hides the packages of `_FOREIGN` that nobody has imported yet."""
    hidden = [name for name in _FOREIGN if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # makes `import name` an ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _mil() -> Any:
    return coremltools().converters.mil.mil


def opset(deployment: str) -> Any:
    """The operator set of a deployment target such as `iOS17`."""
    return getattr(coremltools().target, deployment)


def specification(deployment: str) -> int:
    """Version of the model format that a deployment target needs."""
    return int(opset(deployment).value)


def _type(dtype: str) -> Any:
    types = _mil().types
    return {"float32": types.fp32, "float16": types.fp16, "int32": types.int32, "int8": types.int8, "bool": types.bool}[
        dtype
    ]


def dtype_of(var: Var) -> str:
    """numpy name of a value's dtype."""
    return str(np.dtype(_mil().types.nptype_from_builtin(var.dtype)).name)


@contextlib.contextmanager
def function(
    inputs: Mapping[str, tuple[Sequence[int], str]], deployment: str, states: Mapping[str, Sequence[int]] = _NO_STATES
) -> Iterator[Any]:
    """A function being built: operations emitted meanwhile become its body.

    Args:
        inputs: identifier -> shape (at least one axis) and dtype (float32, float16, int32).
        deployment: e.g. `iOS17`.
        states: identifier -> shape of what is kept between runs, in float16 as Core ML has it.
    """
    mil = _mil()
    holders = {n: mil.Builder.placeholder(shape=tuple(s), dtype=_type(d), name=n) for n, (s, d) in inputs.items()}
    holders |= {n: mil.Builder.state_tensor_placeholder(tuple(s), mil.types.fp16) for n, s in states.items()}
    with quiet(), mil.Function(holders, opset_version=opset(deployment)) as made:
        yield made


def stand_in(shape: Sequence[int], dtype: str, name: str) -> Var:
    """A value that nothing computes, in a function that is only built to find out what else stands in the way."""
    return _mil().Builder.placeholder(shape=tuple(shape), dtype=_type(dtype), name=name).outputs[0]


def emit(kind: str, **inputs: Any) -> Var:
    """One operation of the function being built; several outputs come as a tuple.

    Raises:
        BuilderError: the operation does not exist for this deployment target, or declines its inputs.
    """
    try:
        return getattr(_mil().Builder, kind)(**inputs)
    except (ValueError, TypeError, NotImplementedError, AttributeError, AssertionError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise BuilderError(reason or type(error).__name__) from error


def narrow(array: Array, dtype: str) -> Array:
    """Integers in bytes, marked as of a type of 1, 2, 4, 6 or 8 bits (`uint4`, `int4`, `int8`, ...)."""
    types = _mil().types
    return np.asarray(array).astype(types.nptype_from_builtin(types.string_to_builtin(dtype)))


def constant(array: Array, name: str) -> Var:
    """A constant."""
    return emit("const", val=array, name=name)


def classifier(labels: Sequence[str], feature: str, numbers: str) -> Any:
    """Makes an output of one number a class into the best label, `feature`, and a table of all."""
    return coremltools().ClassifierConfig(list(labels), feature, numbers)


def program(functions: Mapping[str, Any]) -> Any:
    """A program of built functions whose outputs are set, `main` among them; several share their constants."""
    made = _mil().Program()
    for name, one in functions.items():
        made.add_function(name, one)
        for operation in one.operations if len(functions) > 1 else ():
            if operation.op_type == "const" and isinstance(operation.outputs[0].val, np.ndarray):
                operation.weight_id = _fingerprint(operation.outputs[0].val)
    made.default_function_name = "main"
    made.export_as_multifunction = len(functions) > 1
    return made


def _fingerprint(array: Array) -> str:
    """Equal for arrays of the same type, shape and elements."""
    kind = f"{array.dtype.str} {array.dtype.metadata} {array.shape} "
    return hashlib.sha256(kind.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def convert(made: Any, deployment: str, **options: Any) -> Any:
    """The program as an `MLModel`, cleaned up by `PASSES` and nothing else.

    Raises:
        BuilderError: coremltools declines the program.
    """
    package = coremltools()
    pipeline = package.PassPipeline(pass_names=list(PASSES), pipeline_name="edgeport")
    if len(made.functions) == 1:  # several are to have the same operations, whatever their constants are
        pipeline.set_options("common::const_deduplication", {"const_threshold": 1})  # axes, scales: thousands of them
    gc.freeze()  # coremltools collects garbage, and what stands here already need not be looked through: 0.2 s a model
    try:
        with quiet():
            return package.convert(
                made,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=opset(deployment),
                pass_pipeline=pipeline,
                skip_model_load=True,
                **options,
            )
    except (ValueError, TypeError, NotImplementedError, AssertionError) as error:
        raise BuilderError(" ".join(str(error).split())) from error
    finally:
        gc.unfreeze()
        _mil().passes.pass_registry.PASS_REGISTRY["common::const_deduplication"].const_threshold = _DEFAULT_THRESHOLD


def edited(data: bytes, edit: Callable[[Any], None]) -> bytes:
    """A model's bytes after a change to its protobuf message, with the entries of all maps sorted."""
    model = coremltools().proto.Model_pb2.Model.FromString(data)
    edit(model)
    ordered: bytes = model.SerializeToString(deterministic=True)
    return ordered
