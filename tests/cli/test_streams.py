"""Stdout carries results only; C code and user code that print are sent to stderr."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import os, sys
from edgeport.cli.streams import results_only
print("before")
with results_only():
    print("python chatter")
    os.write(1, b"c chatter\\n")
print("after")
"""


def test_chatter_goes_to_stderr() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["before", "after"]
    assert sorted(done.stderr.splitlines()) == ["c chatter", "python chatter"]
