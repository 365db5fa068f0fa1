"""The flags, each written once. A flag that is not given is None (or empty), so that edgeport.toml can fill it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _split(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    if values and not names:  # an unset variable in a script; the default would be a guess
        raise click.BadParameter("it is empty; name at least one, or leave the flag out")
    return names


SOURCE = click.argument("source", required=False)
TARGET = click.option(
    "--target",
    metavar="A,B",
    multiple=True,
    callback=_split,
    help="What to build for; all: what can be [default: tflite].",
)
ASKED = click.option(
    "--target", metavar="A,B", multiple=True, callback=_split, help="Targets to ask [default: all that are installed]."
)
RUN_BY = click.option("--target", metavar="NAME", help="What the file is for, where it does not tell.")
FOR = click.option(
    "--for", "for_device", metavar="DEVICE", help="Check an .onnx file as it is, Q/DQ or not, against a device's rules."
)
PROFILE = click.option(
    "--profile", metavar="A,B", multiple=True, callback=_split, help="The devices, by profile; one for each target."
)
PRECISION = click.option(
    "--precision", metavar="NAME", help="fp32, fp16, int8, ... ; `edgeport targets` lists them [default: int8]."
)
SCHEME = click.option(
    "--scheme", metavar="NAME", help="What runs in integers: default, or full-integer for NPUs and MCUs."
)
RANGES = click.option("--ranges", metavar="METHOD", help="min-max, percentile, entropy or mse [default: mse].")
CALIB = click.option("--calib", metavar="DATA", help="Calibration samples: folder, file, or file.py:callable.")
DATA = click.option(
    "--data", metavar="DATA", help="Held-out samples for the drift [default: an eighth of the calibration data]."
)
INPUT = click.option(
    "--input", metavar="NAME:DTYPE[SHAPE]", multiple=True, help="Fixes an input's shape and type. Repeatable."
)
SHAPES = click.option(
    "--shapes", metavar="NAME=SHAPE,..", multiple=True, help="Further shapes that the file takes (Core ML). Repeatable."
)
SHAPES_AS = click.option(
    "--shapes-as", metavar="NAME", help="Form of several shapes: functions, enumerated or ranged [default: functions]."
)
STATE = click.option(
    "--state", metavar="INPUT=OUTPUT", multiple=True, help="What the file keeps between runs. Repeatable (Core ML)."
)
INPUT_LAYOUT = click.option(
    "--input-layout", metavar="NAME", help="Order of 4-D inputs: source, or nhwc for camera buffers [default: source]."
)
IO_DTYPE = click.option(
    "--io-dtype", metavar="NAME", help="Inputs and outputs: source, int8, uint8, int16 or float16 [default: source]."
)
BLOCK_SIZE = click.option(
    "--block-size",
    metavar="N",
    type=int,
    help="int4 weights that share a scale; 0: a whole channel [default: 32; TensorRT 128].",
)
IMAGE_INPUT = click.option(
    "--image-input", is_flag=True, default=None, help="Take pixels where [preprocessing] describes an image (Core ML)."
)
BUILD_ENGINE = click.option(
    "--build-engine", is_flag=True, default=None, help="Build and run an engine on this machine's GPU (TensorRT)."
)
GROUP_SIZE = click.option(
    "--group-size", metavar="N", type=int, help="Channels that share a palette; 0: all [default: the target's choice]."
)
SPARSITY = click.option(
    "--sparsity", metavar="F", type=float, help="Share of weights that sparse makes zero [default: none more]."
)
LAYER_PRECISION = click.option(
    "--layer-precision",
    metavar="GLOB=PRECISION",
    multiple=True,
    help="Another precision for the nodes of that name, or that write tensors of it. Repeatable.",
)
LABELS = click.option("--labels", metavar="FILE", help="Names of the classes, one a line, for the file to carry.")
METRIC = click.option("--metric", metavar="FILE.PY:CALLABLE", help="Your own metric, run on float and artifact.")
BUDGET = click.option(
    "--budget", metavar="METRIC>=VALUE", multiple=True, help="Drift you allow; over it exit code 4. Repeatable."
)
STATISTICS = click.option("--statistics", metavar="FILE", help="Statistics of an earlier run, instead of --calib.")
OUT_FOLDER = click.option("--out", metavar="PATH", help="Folder to write.")
OUT_FILE = click.option("--out", metavar="FILE", required=True, help="File to write (.safetensors).")
TOKENIZER = click.option("--tokenizer", metavar="FILE", help="tokenizer.json for .jsonl data.")
PASSES_DROP = click.option(
    "--passes-drop", metavar="A,B", multiple=True, callback=_split, help="Leave these graph passes out."
)
PASSES_ADD = click.option(
    "--passes-add", metavar="A,B", multiple=True, callback=_split, help="Run these graph passes as well."
)
CACHE = click.option("--cache/--no-cache", default=None, help="Reuse cached statistics [default: yes].")
SUSPICIOUS = click.option(
    "--allow-suspicious-data", is_flag=True, default=None, help="Accept data that looks like noise or constants."
)
CONFIG = click.option(
    "--config", metavar="FILE", help="Configuration file [default: edgeport.toml here, where there is one]."
)
LAYERS = click.option("--layers", is_flag=True, help="Print the drift of every inner tensor, in graph order.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print the plan, write nothing.")
QUIET = click.option("--quiet", is_flag=True, help="No progress, notes or tables; errors are still printed.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON envelope on stdout; the rest goes to stderr.")


def flags(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Puts flags on a command in the order in which its help lists them."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate
