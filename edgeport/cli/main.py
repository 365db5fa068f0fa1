"""The entry point: parses, runs the job, prints tables or the envelope, and turns every outcome into its exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from edgeport.cli.commands import cli
from edgeport.cli.envelope import envelope
from edgeport.cli.failure import Failure
from edgeport.cli.job import Job, Result
from edgeport.cli.startup import short_process
from edgeport.cli.streams import console, one_line, results_only, silence_stdout, tidy, write_result
from edgeport.errors import EdgeportError, ModelError
from edgeport.findings import Finding

INTERNAL_ERROR = 1
USAGE_ERROR = 2
INTERRUPTED = 130
_TRACEBACK_SWITCH = "EDGEPORT_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code."""
    # A parent that closes a stream (`>&-`) leaves None in its place.
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    short_process()
    code = run(sys.argv[1:] if argv is None else argv)
    gc.freeze()  # all memory goes with the process: searching it for cycles first would take up to half a second
    sys.exit(code)


def run(argv: Sequence[str]) -> int:
    """Runs the command line with the arguments after `edgeport` and returns the exit code."""
    if not argv:
        cli.main(["--help"], prog_name="edgeport", standalone_mode=False)
        return USAGE_ERROR
    flags = argv[: argv.index("--")] if "--" in argv else argv
    command = next((word for word in argv if word in cli.commands), None)
    job: Any = None
    try:
        job = cli.main(list(argv), prog_name="edgeport", standalone_mode=False)
        if not isinstance(job, Job):
            return int(job or 0)
        result = _call(job)
        return 0 if _print(job, result, result.findings) else INTERNAL_ERROR
    except EdgeportError as error:
        failure = Failure(type(error).__name__, one_line(str(error)), error.exit_code, error.findings, error.result)
    except click.ClickException as error:
        failure = Failure("UsageError", one_line(error.format_message()), USAGE_ERROR)
    except (KeyboardInterrupt, click.Abort):
        failure = Failure("Interrupted", "interrupted", INTERRUPTED)
    except BrokenPipeError:  # of --help; results are written by write_result
        silence_stdout()
        return 0
    except MemoryError as error:
        detail = one_line(str(error)) or "the model with its inputs is too large for this machine"
        message = f"out of memory: {detail}; give smaller dimensions with --input"
        failure = Failure("ModelError", message, ModelError.exit_code)
    except Exception as error:
        failure = _internal(error)
    shown = isinstance(job, Job) and failure.result is not None and not (job.as_json or job.quiet)
    failure.tell(findings=not shown)
    if isinstance(job, Job):
        _print(job, failure.result, failure.findings, failure)
    elif "--json" in flags:
        write_result(envelope(command, error=failure.body()))
    return failure.exit_code


def _call(job: Job) -> Result:
    from edgeport.cli.progress import terminal_progress

    with results_only(), terminal_progress(job.quiet) as progress:
        return job.call(progress)


def _print(job: Job, result: Result | None, findings: Sequence[Finding], failure: Failure | None = None) -> bool:
    """Prints the outcome of a job, as far as it came, as envelope or tables; False if stdout cannot be written."""
    if job.as_json:
        data = None if result is None else result.to_json()
        error = None if failure is None else failure.body()
        return write_result(envelope(job.command, result=data, findings=findings, error=error))
    if job.quiet or result is None:
        return True
    from edgeport.cli.show import show

    page = io.StringIO()  # rich's own capture writes to stdout all the same, and fails where that is full
    show(job.command, result, console(page))
    return write_result(tidy(page.getvalue()))


def _internal(error: Exception) -> Failure:
    """A bug: named in one line, with the traceback for who asks for it."""
    if os.environ.get(_TRACEBACK_SWITCH):
        import traceback

        traceback.print_exc()
    text = one_line(f"internal error: {type(error).__name__}: {error}")
    return Failure("InternalError", f"{text} (set {_TRACEBACK_SWITCH}=1 for the traceback)", INTERNAL_ERROR)
