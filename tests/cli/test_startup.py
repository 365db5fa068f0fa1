"""A process of the command line loads no algebra that it does not use; nobody else's process is changed."""

from __future__ import annotations

import gc
import subprocess
import sys

from edgeport.cli.main import run

_SCRIPT = """
import sys
from edgeport.cli.startup import short_process
short_process()
import onnx_ir as ir
assert "sympy.core" not in sys.modules
assert str(ir.SymbolicDim("batch") + 1) == "batch + 1"
assert "sympy.core" in sys.modules
"""


def test_algebra_is_loaded_when_dimensions_are_computed_with() -> None:
    subprocess.run([sys.executable, "-c", _SCRIPT], check=True)


def test_a_program_that_calls_the_command_line_is_left_as_it_was() -> None:
    before = gc.get_threshold(), list(sys.meta_path)
    assert run(["targets", "--quiet"]) == 0
    assert (gc.get_threshold(), sys.meta_path) == before
