"""ExecuTorch's runtime: its binding alone, without the exporter that `import executorch` brings along.

Runs in a process of its own (see `worker`): a program that the runtime stumbles over may end it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from edgeport.sample import Array

_PACKAGES = ("executorch", "executorch.extension", "executorch.extension.pybindings")
_DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
    27: "uint16",
    28: "uint32",
    29: "uint64",
}
"""Numbers of element types in a program (ExecuTorch's scalar_type.h)."""

_LINES, _LONGEST = 4, 600
"""Of what the runtime has said about an error: how many lines and characters are passed on."""

Ends = tuple[tuple[tuple[int, ...], str], ...]
"""Shape and dtype of inputs or outputs, in order."""


class ProgramError(Exception):
    """The runtime does not take or run a program; the message says why, in one line."""


@functools.cache
def binding() -> Any:
    """The compiled binding, on one thread.

    Its packages' own `__init__` import the exporter, which takes seconds: empty ones stand in for them here.
    """
    spec = importlib.util.find_spec("executorch")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("executorch is not installed")
    root = Path(next(iter(spec.submodule_search_locations)))
    for name in _PACKAGES:
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    made = importlib.import_module("executorch.extension.pybindings._C")
    made._unsafe_reset_threadpool(1)
    return made


@functools.cache
def _log() -> BinaryIO:
    """What the runtime says: it says more on the standard error stream than its exceptions do."""
    log = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
    os.dup2(log.fileno(), 2)
    return log


def operators() -> frozenset[str]:
    """The operators that the runtime has kernels for, e.g. `aten::add.out`."""
    return frozenset(binding()._get_operator_names())


class LoadedProgram:
    """A program of the runtime.

    Raises:
        ProgramError: it is none, or needs what the runtime lacks.
    """

    def __init__(self, path: Path) -> None:
        with _explained():
            self._module = binding()._load_for_executorch(str(path))
            meta = self._module.method_meta("forward")
        self.inputs: Ends = tuple(_end(meta.input_tensor_meta(i)) for i in range(meta.num_inputs()))
        self.outputs: Ends = tuple(_end(meta.output_tensor_meta(i)) for i in range(meta.num_outputs()))

    @property
    def ends(self) -> tuple[Ends, Ends]:
        """Its inputs and outputs."""
        return self.inputs, self.outputs

    def run(self, feeds: Sequence[Array]) -> list[Array]:
        """Every output; the arrays must have the shapes and dtypes of its inputs.

        Raises:
            ProgramError: a kernel does not take its operands.
        """
        tensors = [torch.from_numpy(np.array(array, order="C")) for array in feeds]
        with _explained():
            made = self._module.forward(tensors)
        return [tensor.numpy() for tensor in made]


def _end(info: Any) -> tuple[tuple[int, ...], str]:
    return tuple(info.sizes()), _DTYPES.get(info.dtype(), f"type {info.dtype()}")


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Adds to an exception what the runtime has said about it.

    Raises:
        ProgramError: for any exception.
    """
    log = _log()
    log.seek(0)
    log.truncate()
    try:
        yield
    except Exception as error:  # the binding raises whatever its C++ does
        log.seek(0)
        lines = (line.partition("] ")[2] for line in log.read().decode(errors="replace").splitlines())
        said = [line for line in lines if line and not line.startswith("arg ")]
        told = "; ".join(" ".join(line.split()) for line in (str(error), *said[-_LINES:]))
        raise ProgramError(told[:_LONGEST]) from error
