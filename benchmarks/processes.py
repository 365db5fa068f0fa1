"""What a whole process takes: wall time, processor time, memory at its peak."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A process starts with the peak of the one that it was forked from: a small one stands in between.
_BETWEEN = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
with open(sys.argv[2], "w") as said:
    try:
        code = subprocess.run(sys.argv[3:], stdout=said, stderr=subprocess.STDOUT).returncode
    except OSError as error:
        code = 127
        said.write(str(error))
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as found:
    json.dump([code, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], found)
"""


@dataclass(frozen=True)
class Spent:
    """Seconds of wall and processor time, its own processes included, and MiB at the peak of the largest of them."""

    wall: float
    processor: float
    megabytes: float


def spent(command: Sequence[Path | str], environment: dict[str, str] | None = None) -> Spent:
    """Runs a command to its end.

    Raises:
        RuntimeError: it failed or is not there; the message is the last line that it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        found, said = Path(folder) / "found.json", Path(folder) / "said.txt"
        words = [sys.executable, "-I", "-S", "-c", _BETWEEN, found, said, *command]
        subprocess.run([str(word) for word in words], check=True, env=environment)
        code, wall, processor, megabytes = json.loads(found.read_text())
        if code:
            lines = said.read_text(errors="replace").strip().splitlines()
            raise RuntimeError((lines or [f"exit code {code}"])[-1].strip())
    return Spent(wall, processor, megabytes)
