"""The entry point: parses, runs the job, prints tables or the envelope, and turns every outcome into its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from edgeport.cli.commands import cli
from edgeport.cli.envelope import envelope, error_body
from edgeport.cli.job import Job
from edgeport.cli.streams import console, one_line, results_only, silence_stdout, write_result
from edgeport.errors import EdgeportError
from edgeport.findings import Finding

INTERNAL_ERROR = 1
USAGE_ERROR = 2
INTERRUPTED = 130
_TRACEBACK_SWITCH = "EDGEPORT_TRACEBACK"
_SHOWN_FINDINGS = 20


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Runs the command line with the arguments after `edgeport` and returns the exit code."""
    if not argv:
        cli.main(["--help"], prog_name="edgeport", standalone_mode=False)
        return USAGE_ERROR
    flags = argv[: argv.index("--")] if "--" in argv else argv
    as_json = "--json" in flags
    command = next((word for word in argv if word in cli.commands), None)
    try:
        return _run(argv, command)
    except EdgeportError as error:
        return _fail(command, type(error).__name__, str(error), error.exit_code, as_json, error.findings)
    except click.ClickException as error:
        return _fail(command, "UsageError", error.format_message(), USAGE_ERROR, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _fail(command, "Interrupted", "interrupted", INTERRUPTED, as_json)
    except BrokenPipeError:  # of --help; results are written by write_result
        silence_stdout()
        return 0
    except Exception as error:
        if os.environ.get(_TRACEBACK_SWITCH):
            import traceback

            traceback.print_exc()
        message = f"internal error: {type(error).__name__}: {error} (set {_TRACEBACK_SWITCH}=1 for the traceback)"
        return _fail(command, "InternalError", message, INTERNAL_ERROR, as_json)


def _run(argv: Sequence[str], command: str | None) -> int:
    job: Any = cli.main(list(argv), prog_name="edgeport", standalone_mode=False)
    if not isinstance(job, Job):
        return int(job or 0)
    from edgeport.cli.progress import terminal_progress

    with results_only(), terminal_progress(job.quiet) as progress:
        result = job.call(progress)
    if job.as_json:
        text = envelope(command, result=result.to_json(), findings=result.findings)
    elif job.quiet:
        return 0
    else:
        page = console()
        with page.capture() as capture:
            job.show(result, page)
        text = capture.get().rstrip("\n")
    return 0 if write_result(text) else INTERNAL_ERROR


def _fail(
    command: str | None, kind: str, message: str, code: int, as_json: bool, findings: Sequence[Finding] = ()
) -> int:
    """Reports one failure: a line on stderr with one more for each finding, and with `--json` the envelope."""
    message = one_line(message)
    click.echo(f"edgeport: {message}", err=True)
    for finding in findings[:_SHOWN_FINDINGS]:
        place = " ".join(part for part in (finding.node, finding.op and f"({finding.op})") if part)
        text = "; ".join(part for part in (finding.message, finding.hint) if part)
        click.echo(f"  {finding.severity} {finding.code}: {place + ': ' if place else ''}{one_line(text)}", err=True)
    if len(findings) > _SHOWN_FINDINGS:
        click.echo(f"  and {len(findings) - _SHOWN_FINDINGS} more; --json lists every one", err=True)
    if as_json:
        write_result(envelope(command, findings=findings, error=error_body(kind, message, code)))
    return code
