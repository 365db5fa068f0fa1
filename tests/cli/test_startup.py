"""A process of the command line loads no algebra that it does not use, and leaves the process as it found it."""

from __future__ import annotations

import gc
import subprocess
import sys

from edgeport.cli.startup import short_process

_SCRIPT = """
import sys
from edgeport.cli.startup import short_process
with short_process():
    import onnx_ir as ir
assert "sympy.core" not in sys.modules
assert str(ir.SymbolicDim("batch") + 1) == "batch + 1"
assert "sympy.core" in sys.modules
"""


def test_algebra_is_loaded_when_dimensions_are_computed_with() -> None:
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True)


def test_the_process_is_left_as_it_was() -> None:
    before = gc.get_threshold(), list(sys.meta_path)
    with short_process():
        assert gc.get_threshold() != before[0]
    assert (gc.get_threshold(), sys.meta_path) == before
