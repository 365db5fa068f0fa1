"""Fixing the inputs: declared shapes and the user's `--input` flags -> the shapes that the graph is built for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from edgeport.errors import ModelError, UsageError
from edgeport.findings import Finding
from edgeport.sample import InputSpec


@dataclass(frozen=True)
class DeclaredInput:
    """An input as the source declares it; `shape` is None where not even the rank is declared."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True)
class FixedInputs:
    """The outcome: one specification an input, in the source's order."""

    specs: tuple[InputSpec, ...]
    findings: tuple[Finding, ...]


def fix_inputs(declared: Sequence[DeclaredInput], given: Sequence[InputSpec], keep_symbolic: bool) -> FixedInputs:
    """Applies `--input` flags to declared inputs.

    A symbol takes the same value wherever it stands. A symbolic first dimension without a flag becomes 1; any
    other symbolic dimension must be fixed by a flag, unless `keep_symbolic`.

    Raises:
        UsageError: a flag names no input, or contradicts the declared dtype, rank or dimensions, or another flag.
        ModelError: dimensions are left open; the message holds the flags to copy.
    """
    flags = _by_name(declared, given)
    bound: dict[str, int | str] = {}  # what the flags say that the source's symbols are: a number, or a new name
    for entry in declared:
        if entry.name in flags:
            _bind(entry, flags[entry.name], bound)
    batches: set[int | str] = set()
    shapes: dict[str, tuple[int | str, ...] | None] = {}
    for entry in declared:
        if entry.name in flags:
            shapes[entry.name] = flags[entry.name].shape
        else:
            shapes[entry.name] = None if entry.shape is None else tuple(bound.get(str(d), d) for d in entry.shape)
    findings = []
    if not keep_symbolic:
        for entry in declared:
            known = shapes[entry.name] or (1,)
            if isinstance(known[0], str) and known[0] not in batches:
                batches.add(known[0])
                findings.append(_batch_finding(InputSpec(entry.name, entry.dtype, known)))
    specs = [
        InputSpec(d.name, d.dtype, tuple(1 if dim in batches else dim for dim in shape))
        for d in declared
        if (shape := shapes[d.name]) is not None
    ]
    ranked = [s for s in specs if not s.static]
    unranked = [d for d in declared if shapes[d.name] is None]
    if unranked or (ranked and not keep_symbolic):
        raise ModelError(_open_message(ranked if not keep_symbolic else [], unranked))
    return FixedInputs(tuple(specs), tuple(findings))


def near_names(name: str, names: Sequence[str]) -> str:
    """` (did you mean 'x'?)` when one of `names` is near, else a list of them."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"it has {', '.join(map(repr, names))}" if names else "it has none"


def _by_name(declared: Sequence[DeclaredInput], given: Sequence[InputSpec]) -> dict[str, InputSpec]:
    names = [d.name for d in declared]
    flags: dict[str, InputSpec] = {}
    for spec in given:
        if spec.name not in names:
            raise UsageError(f'--input "{spec}": the model has no input {spec.name!r}; {near_names(spec.name, names)}')
        if spec.name in flags:
            raise UsageError(f'--input "{spec}": input {spec.name!r} is given twice; keep one of the flags')
        flags[spec.name] = spec
    return flags


def _bind(entry: DeclaredInput, flag: InputSpec, bound: dict[str, int | str]) -> None:
    where = f'--input "{flag}"'
    if flag.dtype != entry.dtype:
        raise UsageError(f"{where}: the model takes {entry.name!r} as {entry.dtype}; write {entry.dtype}")
    if entry.shape is None:
        return
    declared = InputSpec(entry.name, entry.dtype, entry.shape)
    if len(flag.shape) != len(entry.shape):
        raise UsageError(f"{where}: {len(flag.shape)} dimensions, the model takes {len(entry.shape)}: {declared}")
    for index, (want, dim) in enumerate(zip(flag.shape, entry.shape, strict=True)):
        if isinstance(dim, int):
            if want != dim:
                raise UsageError(f"{where}: dimension {index} is {want}, the model has {dim} there: {declared}")
        elif bound.setdefault(dim, want) != want:
            raise UsageError(
                f"{where}: dimension {index} is {want}, but {dim!r}, which stands for it, is {bound[dim]} elsewhere; "
                "give both the same number"
            )


def _batch_finding(spec: InputSpec) -> Finding:
    other = InputSpec(spec.name, spec.dtype, (8, *spec.shape[1:]))
    return Finding(
        "info",
        "batch-fixed",
        f"batch fixed at 1: dimension {spec.shape[0]!r} of input {spec.name!r}",
        hint=f'--input "{other}" sets it to 8',
    )


def _open_message(open_specs: Sequence[InputSpec], unranked: Sequence[DeclaredInput]) -> str:
    """Names the open dimensions and gives flags with a usual number in their place."""
    parts, flags = [], []
    for spec in open_specs:
        usual = 224 if len(spec.shape) == 4 else 128
        parts.append(f"{', '.join(repr(d) for d in spec.shape if isinstance(d, str))} of input {spec.name!r}")
        shape = tuple(usual if isinstance(d, str) else d for d in spec.shape)
        flags.append(f'--input "{InputSpec(spec.name, spec.dtype, shape)}"')
    for entry in unranked:
        parts.append(f"the whole shape of input {entry.name!r}")
        flags.append(f'--input "{entry.name}:{entry.dtype}[1,3,224,224]"')
    return f"open dimensions: {'; '.join(parts)}; fix them with your numbers, e.g. {' '.join(flags)}"
