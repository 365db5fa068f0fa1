"""Runs cases in worker processes, so that one that dies or hangs is counted and the others go on."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from edgeport.errors import EdgeportError, ModelError

from .cases import Case
from .outcomes import Outcome, difference
from .view import NAME as VIEW
from .view import run_view

_TIMEOUT = 120.0
"""Seconds for one case, far above what any takes on a busy machine: a hang must end."""


def run_cases(cases: Sequence[Case], target: str, jobs: int | None = None) -> dict[str, Outcome]:
    """How each case ends on a target, by name and in the order of `cases`."""
    jobs = min(jobs or min(os.cpu_count() or 1, 4), len(cases)) or 1
    waiting = list(reversed(cases))
    lock = threading.Lock()
    outcomes: dict[str, Outcome] = {}

    def drive() -> None:
        worker = _Worker(target)
        while True:
            with lock:
                if not waiting:
                    break
                case = waiting.pop()
            outcomes[case.name] = worker.run(case)
        worker.stop()

    threads = [threading.Thread(target=drive) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {case.name: outcomes[case.name] for case in cases}


class _Worker:
    """A process that runs one case after the other, started anew after one that it did not survive."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._process: Any = None
        self._pipe: Connection | None = None

    def run(self, case: Case) -> Outcome:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._target), daemon=True)
            self._process.start()
            theirs.close()
        assert self._pipe is not None
        try:
            self._pipe.send(case)
            if self._pipe.poll(_TIMEOUT):
                outcome: Outcome = self._pipe.recv()
                return outcome
            problem = f"no answer in {_TIMEOUT:.0f} s"
        except (EOFError, OSError):
            self._process.join(_TIMEOUT)
            problem = f"the process died (exit code {self._process.exitcode})"
        self.stop()
        return Outcome("crash", problem)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = self._pipe = None


def _serve(pipe: Connection, target: str) -> None:
    """Body of a worker process."""
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # LiteRT and ONNX Runtime write there past Python
    os.dup2(quiet, 2)
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            try:
                outcome = run_view(case) if target == VIEW else run_case(case, target, Path(folder))
            except Exception as error:  # also where edgeport itself cannot be imported
                outcome = Outcome("crash", _described(error))
            pipe.send(outcome)


def run_case(case: Case, target: str, folder: Path) -> Outcome:
    """Exports one case as `edgeport export --precision fp32` does, loads the file and runs it.

    A refusal counts as one only if a finding names the operator; a file that its own runtime does not take, or stops
    in, counts as a crash.
    """
    import onnx

    from edgeport.emission import check_target, emit
    from edgeport.planning import assign_for, plan_for
    from edgeport.preparation import prepare
    from edgeport.targets.registry import load_target

    chosen = load_target(target)
    try:
        prepared = prepare(onnx.ModelProto.FromString(case.model))
        check_target(chosen, prepared, "fp32", None)
        assigned = assign_for(prepared.canonical, chosen.scheme("fp32", None))
        plan = plan_for(prepared.canonical, assigned, None, "min-max")
        artifact = emit(chosen, None, prepared, assigned, plan, folder, None).artifact
    except EdgeportError as error:
        reasons = [f"{f.op}: {f.message}" for f in error.findings if f.op and f.severity == "error"]
        if isinstance(error, ModelError) and reasons:
            return Outcome("refused", "; ".join(dict.fromkeys(reasons)))
        return Outcome("crash", f"{type(error).__name__} that names no operator: {error}")
    except Exception as error:
        return Outcome("crash", _described(error))
    try:
        got = chosen.runner(artifact, prepared.canonical).run(case.feeds)
    except Exception as error:
        return Outcome("crash", _described(error))
    problem = difference(list(got.values()), case.wanted)
    return Outcome("pass") if problem is None else Outcome("wrong", problem)


def _described(error: Exception) -> str:
    """An exception with the place in edgeport that it comes from."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {' '.join(str(error).split())[:300]}"
