"""Runs the code of a .ptl file with QNNPACK's kernels, and quantizes floats as phones do.

    a desktop's torch   rint(x / s + z), one fused multiply-add       quantize_per_tensor of FBGEMM
    a phone's torch     rint(x / s) + z                               what stands in its place here

The archive of the lite interpreter also holds the TorchScript that its bytecode was made of. That is loaded, and each
`aten::quantize_per_tensor` in it replaced by the phone's formula in float32; every other operator is the file's own, on
the same weights, packed by the engine `qnnpack`. Sums in float operators have this machine's order.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import Array, InputSpec, Sample
from edgeport.targets.qnnpack.ends import feeds, results
from edgeport.targets.qnnpack.engine import engine
from edgeport.targets.qnnpack.names import identifiers
from edgeport.targets.values import dtype_of, shape_of, spec_of
from edgeport.validate.runner import Verdict

_QUANTIZE = """
graph(%x, %scale, %zero_point, %dtype):
  %made = aten::quantize_per_tensor(%x, %scale, %zero_point, %dtype)
  return (%made)
"""
_AS_ON_PHONES = """
graph(%x, %scale, %zero_point, %dtype):
  %one : float = prim::Constant[value=1.]()
  %once : int = prim::Constant[value=1]()
  %least : int = prim::Constant[value=0]()
  %most : int = prim::Constant[value=255]()
  %uint8 : int = prim::Constant[value=0]()
  %no : bool = prim::Constant[value=0]()
  %any : NoneType = prim::Constant()
  %inverse : float = aten::div(%one, %scale)
  %steps : Tensor = aten::mul(%x, %inverse)
  %whole : Tensor = aten::round(%steps)
  %shifted : Tensor = aten::add(%whole, %zero_point, %once)
  %limited : Tensor = aten::clamp(%shifted, %least, %most)
  %bytes : Tensor = aten::to(%limited, %uint8, %no, %no, %any)
  %made : Tensor = aten::_make_per_tensor_quantized_tensor(%bytes, %scale, %zero_point)
  return (%made)
"""


@dataclass
class PtlRunner:
    """A `Runner` over a .ptl file.

    Args:
        path: the file.
        graph: the canonical graph it was lowered from; gives names, shapes and dtypes.
    """

    path: Path
    graph: ir.Model
    _functions: dict[tuple[str, ...], tuple[tuple[str, ...], Any]] = field(default_factory=dict, init=False, repr=False)

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """The graph's inputs."""
        return tuple(spec_of(v) for v in self.graph.graph.inputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The graph's output names."""
        return tuple(v.name or "" for v in self.graph.graph.outputs)

    @property
    def verdict(self) -> Verdict:
        """QNNPACK's own kernels run."""
        return "measured"

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """Nothing beside the outputs."""
        return ()

    def run(self, sample: Sample) -> dict[str, Array]:
        """Runs one sample (batch axis included) and returns every output by name.

        Raises:
            UsageError: the sample does not fit the model's inputs.
            ModelError: torch does not run the file.
        """
        with engine():
            return results(self.graph, self._called(self._module, sample), self.path.name)

    def intermediates(self, sample: Sample, names: Sequence[str]) -> dict[str, Array]:
        """Internal tensors by canonical name, those in integers as the floats that they stand for."""
        values = {v.name or "": v for node in self.graph.graph for v in node.outputs if v.shape is not None}
        wanted = tuple(name for name in names if name in values)
        with engine():
            found, function = self._watched(wanted)
            given = self._called(function, sample) if found else ()
            kept = {}
            for name, tensor in zip(found, given, strict=True):
                real = tensor.dequantize() if tensor.is_quantized else tensor
                if tuple(real.shape) == shape_of(values[name]):
                    kept[name] = real.detach().numpy().astype(dtype_of(values[name]), copy=False)
            return kept

    def _called(self, function: Any, sample: Sample) -> Any:
        given = feeds(self.graph, sample, self.path.name)
        try:
            with torch.no_grad():
                return function(*given)
        except RuntimeError as error:
            raise ModelError(f"torch does not run {self.path.name}: {str(error).strip().splitlines()[-1]}") from error

    @functools.cached_property
    def _module(self) -> Any:
        jit: Any = torch.jit
        try:
            module = jit.load(str(self.path))
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{self.path} is no file that torch loads, or is damaged ({str(error).strip().splitlines()[0]}); "
                "export it again"
            ) from error
        rewrite: Any = torch._C._jit_pass_custom_pattern_based_rewrite_graph
        rewrite(_QUANTIZE, _AS_ON_PHONES, module.graph)
        return module

    def _watched(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        """The names that the file has, and a function of the same inputs that gives those values."""
        if names not in self._functions:
            self._functions[names] = self._watch(names)
        return self._functions[names]

    def _watch(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], Any]:
        module: Any = self._module
        graph = module.graph.copy()
        called = identifiers(names)
        found = {}
        for node in graph.nodes():
            for value in node.outputs():
                name = called.get(value.debugName().partition(".")[0])
                if name is not None:
                    found[name] = value
        for _ in list(graph.outputs()):
            graph.eraseOutput(0)
        for value in found.values():
            graph.registerOutput(value)
        graph.makeMultiOutputIntoTuple()
        own = next(iter(graph.inputs()))
        if not list(own.uses()):
            graph.eraseInput(0)
        return tuple(found), torch._C._create_function_from_graph("watched", graph)
