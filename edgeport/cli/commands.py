"""The commands: each turns its flags into one API call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import edgeport
from edgeport.cli import options as o
from edgeport.cli.job import Job, Result
from edgeport.cli.settings import merge, read_config, required

if TYPE_CHECKING:
    from edgeport.cli.progress import TerminalProgress

_EPILOG = "Exit codes: 0 done, 1 internal error, 2 usage, 3 model, 4 over budget, 5 toolchain missing, 6 data."


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(edgeport.__version__, prog_name="edgeport")
def cli() -> None:
    """Take a trained float model to phones and boards, and prove how far every file drifted."""


@cli.command(short_help="Build and prove files for devices.")
@o.flags(o.SOURCE, o.TARGET, o.PROFILE, o.PRECISION, o.SCHEME, o.RANGES, o.CALIB, o.DATA, o.INPUT)
@o.flags(
    o.SHAPES,
    o.SHAPES_AS,
    o.STATE,
    o.INPUT_LAYOUT,
    o.IO_DTYPE,
    o.BLOCK_SIZE,
    o.GROUP_SIZE,
    o.SPARSITY,
    o.LAYER_PRECISION,
    o.IMAGE_INPUT,
    o.BUILD_ENGINE,
    o.LABELS,
    o.METRIC,
)
@o.flags(
    o.BUDGET, o.STATISTICS, o.OUT_FOLDER, o.CONFIG, o.TOKENIZER, o.PASSES_DROP, o.PASSES_ADD, o.CACHE, o.SUSPICIOUS
)
@o.flags(o.DRY_RUN, o.QUIET, o.JSON)
def export(config: str | None, dry_run: bool, quiet: bool, as_json: bool, **flags: Any) -> Job:
    """Convert SOURCE for every target, run each file, compare it with the float model.

    SOURCE is a .onnx file, a .pt2 file, or file.py:callable that returns a torch module.
    """
    settings = read_config(config, quiet)
    arguments = merge(flags, settings)
    source = required(arguments, "source", "SOURCE")
    if not dry_run and "out" not in arguments:
        required(arguments, "out", "--out")
    arguments.setdefault("out", Path("out"))

    def call(progress: TerminalProgress | None) -> Result:
        from edgeport import api

        return api.export(source, preprocessing=settings.preprocessing, dry_run=dry_run, progress=progress, **arguments)

    return Job("export", call, as_json, quiet)


@cli.command(short_help="Show what a model consists of.")
@o.flags(o.SOURCE, o.FOR, o.ASKED, o.INPUT, o.CONFIG, o.PASSES_DROP, o.PASSES_ADD, o.QUIET, o.JSON)
def inspect(config: str | None, for_device: str | None, quiet: bool, as_json: bool, **flags: Any) -> Job:
    """Show what SOURCE takes, gives and consists of, and what each target would refuse.

    With --for, SOURCE is an .onnx file that any tool wrote: exit code 3 where the device would not take it.
    """
    settings = read_config(config, quiet)
    if for_device is not None:  # what the file says of targets and inputs is for exports
        settings = type(settings)(source=settings.source)
    arguments = merge(flags, settings)
    source = required(arguments, "source", "SOURCE")

    def call(progress: TerminalProgress | None) -> Result:
        from edgeport import api

        return api.inspect(source, for_device=for_device, **arguments)

    return Job("inspect", call, as_json, quiet)


@cli.command(short_help="Collect statistics once, for later exports.")
@o.flags(o.SOURCE, o.TARGET, o.PROFILE, o.PRECISION, o.SCHEME, o.CALIB, o.INPUT, o.OUT_FILE, o.CONFIG, o.TOKENIZER)
@o.flags(o.LAYER_PRECISION, o.PASSES_DROP, o.PASSES_ADD, o.CACHE, o.SUSPICIOUS, o.QUIET, o.JSON)
def calibrate(config: str | None, quiet: bool, as_json: bool, **flags: Any) -> Job:
    """Run SOURCE over the calibration data once and write its statistics, for `export --statistics`."""
    settings = read_config(config, quiet)
    arguments = merge(flags, settings)
    source = required(arguments, "source", "SOURCE")
    calib = required(arguments, "calib", "--calib")

    def call(progress: TerminalProgress | None) -> Result:
        from edgeport import api

        return api.calibrate(source, calib=calib, preprocessing=settings.preprocessing, progress=progress, **arguments)

    return Job("calibrate", call, as_json, quiet)


@cli.command(short_help="Compare an existing file with its source.")
@click.argument("artifact", type=click.Path(path_type=Path))
@o.flags(o.SOURCE, o.RUN_BY, o.DATA, o.INPUT, o.METRIC, o.BUDGET, o.LAYERS, o.CONFIG, o.TOKENIZER, o.QUIET, o.JSON)
def validate(
    artifact: Path, target: str | None, layers: bool, config: str | None, quiet: bool, as_json: bool, **flags: Any
) -> Job:
    """Run an existing ARTIFACT (e.g. out/tflite/model.tflite) against its float SOURCE."""
    settings = read_config(config, quiet)
    arguments = merge(flags, settings)
    source = required(arguments, "source", "SOURCE")
    data = required(arguments, "data", "--data")

    def call(progress: TerminalProgress | None) -> Result:
        from edgeport import api

        return api.validate(
            artifact,
            source,
            data=data,
            layers=layers,
            target=target,
            preprocessing=settings.preprocessing,
            progress=progress,
            **arguments,
        )

    return Job("validate", call, as_json, quiet)


@cli.command(short_help="List targets, precisions, toolchains.")
@o.flags(o.QUIET, o.JSON)
def targets(quiet: bool, as_json: bool) -> Job:
    """List the targets, their precisions and whether their toolchain is installed."""

    def call(progress: TerminalProgress | None) -> Result:
        from edgeport import api

        return api.targets()

    return Job("targets", call, as_json, quiet)


@cli.command(short_help="Check this installation.")
@o.flags(o.QUIET, o.JSON)
def doctor(quiet: bool, as_json: bool) -> Job:
    """Check this installation: versions, toolchains, and what would fix what is missing."""

    def call(progress: TerminalProgress | None) -> Result:
        from edgeport import api

        return api.doctor()

    return Job("doctor", call, as_json, quiet)
