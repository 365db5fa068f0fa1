"""A toolchain in a process of its own, started when first needed and anew after it died.

Compiled toolchains crash, leak and write to the standard streams; none of that may reach the export. Requests and
answers are pickled tuples. The other side is a module that is run and calls `serve`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

_PATIENCE = 10.0
"""Seconds that a process has to end by itself."""
DONE = "done"
DECLINED = "declined"


class WorkerError(Exception):
    """The toolchain declines what it is asked, or died of it; the message is the reason, in one line."""


class WorkerDied(WorkerError):
    """It died of it."""


class WorkerProcess:
    """The process of one module; requests of several threads come one after the other."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """What runs now, if it was started."""
        return self._process

    def start(self) -> None:
        """Starts it, so that it is ready when the first request comes."""
        with self._lock:
            self._running()

    def ask(self, *request: Any) -> Any:
        """One request and its answer.

        Raises:
            WorkerError: it was declined, or (`WorkerDied`) the process ended over it.
        """
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                pickle.dump(request, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                kind, answer = pickle.load(process.stdout)
            except (EOFError, OSError, pickle.UnpicklingError) as error:
                raise WorkerDied(f"its process ended with {self._end(process)}") from error
        if kind == DECLINED:
            raise WorkerError(answer)
        return answer

    def stop(self) -> None:
        """Ends the process; the next request starts another."""
        with self._lock:
            if self._process is not None:
                self._end(self._process)

    def _running(self) -> subprocess.Popen[bytes]:
        """The process that answers, a new one where there is none or the last has died."""
        if self._process is not None and self._process.poll() is not None:
            self._end(self._process)
        if self._process is None:
            command = [sys.executable, "-P", "-m", self._module]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        return self._process

    def _end(self, process: subprocess.Popen[bytes]) -> str:
        """Puts a process that answers no more away; how it ended."""
        self._process = None
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what is left in the pipe cannot be written any more
                if pipe is not None:
                    pipe.close()
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def serve(answer: Callable[[tuple[Any, ...]], tuple[str, Any]], load: Callable[[], object] | None = None) -> None:
    """Answers requests from the standard input on what was the standard output, until the input ends.

    Args:
        answer: gives `(DONE, anything)` or `(DECLINED, reason)`.
        load: called before the first request is read. What it raises is not shown: `answer` runs into it, too.
    """
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # toolchains write there past Python
    os.dup2(quiet, 2)
    if load is not None:
        with contextlib.suppress(Exception):
            load()
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(answer(request), answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()
