"""What of a package will leave the Neural Engine, or runs badly on it.

The rules are those that Apple states for models on it (ml-ane-transformers, and the model authoring rules of
apple/coreai-models) and what others measured of its limits; nobody documents what Core ML really decides, so all are
remarks. A rule gives one finding: how many operations it meets, and the first of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from edgeport.findings import Finding
from edgeport.targets.coreml.evaluator.package import Package
from edgeport.targets.coreml.evaluator.program import Block, Constant, Operation, TensorType

_LONGEST_NAME = 60
_LARGEST, _MOST_CHANNELS, _WIDEST_KERNEL, _LEAST_LAST = 16384, 65536, 13, 32
_ENTRIES = ("cast", "const", "identity", "classify", "expand_dims", "squeeze")
"""Operations in float32 that stand at the ends of every program with float32 inputs or outputs."""
_RECURRENT = ("lstm", "gru", "rnn", "while_loop", "cond")
_INDEXED = ("gather", "gather_nd", "gather_along_axis", "scatter", "scatter_nd", "scatter_along_axis", "one_hot")
_SORTING = ("topk", "argsort", "non_zero", "non_maximum_suppression", "cumsum", "reduce_prod")
_ELSEWHERE = (*_RECURRENT, *_INDEXED, *_SORTING)
"""Recurrence, gathers and scatters, products along an axis, control flow, and what sorts or counts."""
_WINDOWED = ("conv", "conv_transpose", "max_pool", "avg_pool", "l2_pool")


def lint(package: Package, names: Mapping[str, str]) -> tuple[Finding, ...]:
    """Remarks on the default function of a package.

    Args:
        package: what was written.
        names: identifier -> canonical name, where they differ.
    """
    function = package.interfaces[package.default].function
    operations = [op for op in _all(function.block) if not op.kind.startswith("const")]
    halves = any(_dtype(op) == "fp16" for op in operations)
    if not halves and any(_dtype(op) == "fp32" for op in operations):
        message = "the program computes in float32, and the Neural Engine only in float16: it runs on CPU and GPU"
        return (Finding("info", "neural-engine", message),)
    constants = {op.outputs[0].name: op for op in _all(function.block) if op.kind == "const"}

    def size(op: Operation, parameter: str) -> tuple[int, ...]:
        given = op.inputs.get(parameter, ())
        found = given[0] if given else None
        if isinstance(found, str) and found in constants:
            found = constants[found].inputs["val"][0]
        if not isinstance(found, Constant) or found.array is None:
            return ()
        return tuple(int(v) for v in np.asarray(found.array).reshape(-1))

    def kernel(op: Operation) -> tuple[int, ...]:
        if op.kind not in ("conv", "conv_transpose"):
            return size(op, "kernel_sizes")
        weight = op.inputs["weight"][0]
        known = constants[weight].outputs[0].type if isinstance(weight, str) and weight in constants else None
        declared = weight.type if isinstance(weight, Constant) else known
        return tuple(d or 0 for d in declared.shape[2:]) if isinstance(declared, TensorType) else ()

    rules: tuple[tuple[str, Callable[[Operation], bool]], ...] = (
        ("compute in float32, which the Neural Engine does not", _is_wide),
        ("are of kinds that it does not run", lambda op: op.kind in _ELSEWHERE),
        ("have a size that is known at run time only", lambda op: any(None in s for s in _shapes(op))),
        (
            f"have an axis over {_LARGEST:,} or over {_MOST_CHANNELS:,} channels",
            lambda op: any(_is_large(s) for s in _shapes(op)),
        ),
        (
            f"have a window wider than {_WIDEST_KERNEL}",
            lambda op: op.kind in _WINDOWED and max(kernel(op), default=0) > _WIDEST_KERNEL,
        ),
        (
            "have a stride with a factor other than 2 and 3",
            lambda op: op.kind in _WINDOWED and not all(map(_of_twos_and_threes, size(op, "strides"))),
        ),
        ("are dilated convolutions", lambda op: op.kind == "conv" and max(size(op, "dilations"), default=1) > 1),
        (
            f"end in an axis below {_LEAST_LAST}, which it fills up to 64 bytes",
            lambda op: any(_ends_short(s) for s in _shapes(op)) and _dtype(op) == "fp16",
        ),
    )
    met = ((text, [op for op in operations if rule(op)]) for text, rule in rules)
    return tuple(_finding(text, found, len(operations), names) for text, found in met if found)


def _finding(text: str, met: list[Operation], total: int, names: Mapping[str, str]) -> Finding:
    name = names.get(met[0].outputs[0].name, met[0].outputs[0].name)
    if len(name) > _LONGEST_NAME:  # TensorFlow's are the names of all operations that were made one
        name = f"{name[: _LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 2 :]}"
    more = f" and {len(met) - 1} more" if len(met) > 1 else ""
    return Finding(
        "info", "neural-engine", f"Neural Engine: {len(met)} of {total} operations {text}: {name} ({met[0].kind}){more}"
    )


def _all(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        yield operation
        for nested in operation.blocks:
            yield from _all(nested)


def _dtype(operation: Operation) -> str | None:
    declared = operation.outputs[0].type if operation.outputs else None
    return declared.dtype if isinstance(declared, TensorType) else None


def _shapes(operation: Operation) -> Iterator[tuple[int | None, ...]]:
    for output in operation.outputs:
        if isinstance(output.type, TensorType):
            yield output.type.shape


def _is_wide(operation: Operation) -> bool:
    return _dtype(operation) == "fp32" and operation.kind not in _ENTRIES


def _is_large(shape: tuple[int | None, ...]) -> bool:
    return any(
        (size or 0) > (_MOST_CHANNELS if len(shape) > 2 and axis == 1 else _LARGEST) for axis, size in enumerate(shape)
    )


def _of_twos_and_threes(stride: int) -> bool:
    for factor in (2, 3):
        while stride > 1 and stride % factor == 0:
            stride //= factor
    return stride <= 1


def _ends_short(shape: tuple[int | None, ...]) -> bool:
    """A short last axis of something that is large enough to matter."""
    return len(shape) > 1 and (shape[-1] or _LEAST_LAST) < _LEAST_LAST and int(np.prod([s or 1 for s in shape])) >= 1024
