"""How a torch module is called, and how such calls become samples of a graph that was captured for one shape."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from edgeport.capture.torch_runner import evaluating
from edgeport.errors import CalibrationError, UsageError
from edgeport.sample import Array, InputSpec


@dataclass(frozen=True)
class CallForm:
    """The form of one call: that of the example which a module was captured with.

    Attributes:
        signature: of the module's forward.
        structure: of the arguments by name.
        leaves: the arguments in it that are no tensors; None where a tensor stands.
        inputs: what the tensors must be: the graph's inputs, in order.
        results: structure of what the module returns.
        returned: what it returns that is no tensor; None where a tensor stands.
    """

    signature: inspect.Signature
    structure: pytree.TreeSpec
    leaves: tuple[Any, ...]
    inputs: tuple[InputSpec, ...]
    results: pytree.TreeSpec
    returned: tuple[Any, ...]

    def tensors(self, args: Sequence[Any], kwargs: Mapping[str, Any], where: str) -> tuple[list[Tensor], int | None]:
        """The tensors of a call in the order of the inputs, and of how many samples they are; None: of one, as it is.

        A tensor of several samples has the shape (samples, *input) instead of `input`; an input that all of them
        share (a mask, positions) keeps its shape.

        Raises:
            CalibrationError: the call is not of this form.
        """
        leaves, structure = pytree.tree_flatten(arguments(self.signature, args, kwargs, where))
        given = [leaf for leaf in leaves if _is_tensor(leaf)]
        others = tuple(None if _is_tensor(leaf) else leaf for leaf in leaves)
        if structure != self.structure or others != self.leaves:
            wanted = ", ".join(map(str, self.inputs))
            raise CalibrationError(f"{where} has other arguments than the example, which has {wanted}; call it alike")
        made = [torch.as_tensor(x) for x in given]
        counts = {count for x, spec in zip(made, self.inputs, strict=True) if (count := _samples(x, spec, where))}
        if len(counts) > 1:
            raise CalibrationError(f"{where} holds tensors of {' and '.join(map(str, sorted(counts)))} samples")
        count = counts.pop() if counts else None
        return [_stacked(x, spec, count) for x, spec in zip(made, self.inputs, strict=True)], count

    def samples(self, args: Sequence[Any], kwargs: Mapping[str, Any], where: str) -> list[dict[str, Array]]:
        """The samples of a call: input name -> array in the input's shape.

        Raises:
            CalibrationError: the call is not of this form.
        """
        tensors, count = self.tensors(args, kwargs, where)
        arrays = [np.asarray(x.detach().cpu().numpy()) for x in tensors]
        pairs = [(spec, a) for spec, a in zip(self.inputs, arrays, strict=True)]
        if count is None:
            return [{spec.name: a for spec, a in pairs}]
        return [{s.name: a[i] if a.ndim > len(s.shape) else a for s, a in pairs} for i in range(count)]

    def returning(self, tensors: Sequence[Tensor]) -> Any:
        """The tensors in the structure that the module returns."""
        rest = iter(tensors)
        return pytree.tree_unflatten([next(rest) if leaf is None else leaf for leaf in self.returned], self.results)


def call_form(module: torch.nn.Module, example: Mapping[str, Any], inputs: Sequence[InputSpec]) -> CallForm:
    """The form of a call with the arguments `example`; runs it once."""
    leaves, structure = pytree.tree_flatten(dict(example))
    with torch.no_grad(), evaluating(module):
        returned, results = pytree.tree_flatten(module(**example))
    return CallForm(
        inspect.signature(module.forward),
        structure,
        tuple(None if _is_tensor(leaf) else leaf for leaf in leaves),
        tuple(inputs),
        results,
        tuple(None if _is_tensor(leaf) else leaf for leaf in returned),
    )


def arguments(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """The arguments of a call by the names of the parameters, in their order; None stands for an absent one.

    Raises:
        CalibrationError: they do not fit the signature.
        UsageError: the signature has parameters without names.
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise CalibrationError(f"{where}: {error}; the module takes ({takes}), and labels are given apart") from error
    nameless = [name for name in bound.arguments if signature.parameters[name].kind not in kinds]
    if nameless:
        raise UsageError(f"forward's {nameless[0]!r} is no parameter with a name; wrap the module in one that names it")
    return {name: value for name, value in bound.arguments.items() if value is not None}


def as_call(given: Any, where: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A tensor or array is the first argument, a tuple or list the positional ones, a mapping those with names.

    Raises:
        CalibrationError: it is none of these.
    """
    if _is_tensor(given):
        return (given,), {}
    if isinstance(given, Mapping):
        return (), dict(given)
    if isinstance(given, tuple | list):
        return tuple(given), {}
    raise CalibrationError(
        f"{where} is a {type(given).__name__}; give a tensor, a tuple of the arguments, or a mapping of name to tensor"
    )


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor | np.ndarray)


def _samples(x: Tensor, spec: InputSpec, where: str) -> int | None:
    """How many samples a tensor holds; None: one, or what all samples share."""
    wanted = tuple(int(d) for d in spec.shape)
    kind = np.dtype(spec.dtype).kind
    if x.is_floating_point() != (kind == "f") or (x.dtype == torch.bool) != (kind == "b"):
        raise CalibrationError(f"{where}: {spec.name!r} is {str(x.dtype).removeprefix('torch.')}, the input is {spec}")
    if tuple(x.shape) == wanted:
        return None
    if x.ndim == len(wanted) > 0 and tuple(x.shape[1:]) == wanted[1:] and len(x) and not len(x) % wanted[0]:
        return len(x) // wanted[0]
    shape = ",".join(str(d) for d in x.shape)
    raise CalibrationError(
        f"{where}: {spec.name!r} has shape [{shape}], the input is {spec}; only the first axis may be a multiple"
    )


def _stacked(x: Tensor, spec: InputSpec, count: int | None) -> Tensor:
    """In the input's dtype; (samples, *input) where it holds several."""
    shape = tuple(int(d) for d in spec.shape)
    cast = x.to(getattr(torch, spec.dtype))
    return cast if count is None or tuple(x.shape) == shape else cast.reshape(count, *shape)
