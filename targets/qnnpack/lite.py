"""A .ptl file in the lite interpreter of this machine's torch, as it is."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.sample import Sample
from edgeport.targets.qnnpack.ends import feeds, results
from edgeport.targets.qnnpack.engine import engine
from edgeport.validate.second import SecondRun

_ROUNDING = "Floats are quantized as on desktops here, as on phones in the drift ladder."


def load_lite(path: Path) -> Any:
    """The module of a file, for calls while the engine is set.

    Raises:
        ModelError: the lite interpreter does not load it.
    """
    mobile: Any = importlib.import_module("torch.jit.mobile")
    try:
        return mobile._load_for_lite_interpreter(str(path))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is no file that torch's lite interpreter loads, or is damaged "
            f"({first_line(error)}); export it again"
        ) from error


@dataclass(frozen=True)
class LiteRunner:
    """A `SecondRunner`: the lite interpreter with engine `qnnpack`, which on a desktop rounds as desktops do.

    Args:
        path: the file.
        graph: the canonical graph it was lowered from.
    """

    path: Path
    graph: ir.Model

    @property
    def name(self) -> str:
        """The runtime and its version."""
        return f"torch {torch.__version__} lite interpreter"

    @property
    def samples(self) -> int:
        """Enough to show that both agree: the first runtime has the figures."""
        return 4

    def run_all(self, samples: Sequence[Sample]) -> SecondRun | Finding:
        """Runs samples; a finding says why the file does not run."""
        outputs = []
        try:
            with engine(), torch.no_grad():
                module = load_lite(self.path)
                for sample in samples:
                    given = module(*feeds(self.graph, sample, self.path.name))
                    outputs.append(results(self.graph, given, self.path.name))
        except (ModelError, RuntimeError) as error:
            return Finding("error", "second-runtime", f"{self.name} does not run the file: {first_line(error)}")
        return SecondRun(tuple(outputs), {"rounding": _ROUNDING, "engine": "qnnpack"})


def first_line(error: Exception) -> str:
    """What torch says before it lists its own code."""
    return next((line for line in str(error).strip().splitlines() if line.strip()), type(error).__name__)
