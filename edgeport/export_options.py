"""What is asked of every target of an export, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

from edgeport.calibration import METHODS
from edgeport.devices import Devices
from edgeport.errors import ToolchainError, UsageError
from edgeport.layer_precision import LayerPrecision
from edgeport.presentation import check_io_dtype
from edgeport.quantize.plan import InputLayout, IoDtype, ShapesAs
from edgeport.quantize.scheme import Scheme
from edgeport.quantize.scheme_options import Storage, mixed, with_storage
from edgeport.suggest import did_you_mean, takes
from edgeport.targets.contract import BuildsEngines, Profile, Target
from edgeport.targets.registry import require_toolchain

_NO_LAYERS: Mapping[str, str] = {}
_AS_IS = Storage()


@dataclass(frozen=True)
class ExportOptions:
    """The options that decide about the files; the attributes are the arguments of `export`."""

    targets: tuple[Target, ...]
    devices: Devices
    precision: str
    scheme: str
    ranges: str
    input_layout: InputLayout
    io_dtype: IoDtype
    storage: Storage = field(default_factory=Storage)
    image_input: bool = False
    layer_precision: tuple[LayerPrecision, ...] = ()
    shapes: tuple[str, ...] = ()
    shapes_as: ShapesAs = "functions"
    states: tuple[str, ...] = ()
    build_engine: bool = False

    def scheme_of(self, target: Target, layers: Mapping[str, str] = _NO_LAYERS) -> Scheme:
        """What the target's kernels demand under these options.

        Args:
            target: one of `targets`.
            layers: node name -> the precision that was asked for it.

        Raises:
            UsageError: weights are not stored in the way that was asked for, or precisions do not go together.
        """
        return scheme_of(target, self.precision, self.device(target), self.scheme, layers, self.storage)

    def device(self, target: Target) -> Profile | None:
        """The device that the target's artifact is for."""
        return self.devices.get(target.name)


def scheme_of(
    target: Target,
    precision: str,
    profile: Profile | None,
    scheme: str,
    layers: Mapping[str, str],
    storage: Storage = _AS_IS,
) -> Scheme:
    """A target's scheme at a precision, with another for some nodes; the arguments are those of `ExportOptions`.

    Raises:
        UsageError: weights are not stored in the way that was asked for, or precisions do not go together.
    """
    others = {name: target.scheme(name, profile) for name in sorted(set(layers.values()))}
    base = target.scheme(precision, profile, scheme)
    return with_storage(mixed(base, {node: others[name] for node, name in layers.items()}), storage)


def check_options(options: ExportOptions, *, has_data: bool) -> None:
    """Refuses combinations that can be refused before the model is read.

    Args:
        options: as given.
        has_data: whether there are calibration samples or statistics.

    Raises:
        UsageError: an unknown name, or options that exclude each other.
        ToolchainError: no target has its toolchain.
    """
    if not options.targets:
        raise UsageError("--target is empty; `edgeport targets` lists what there is")
    if options.ranges not in METHODS:
        raise UsageError(f"--ranges {options.ranges}: no such method; {did_you_mean(options.ranges, METHODS)}")
    _check_ends(options)
    scheme_passes(options.targets, options.scheme)
    for target in options.targets:
        check_precision(target, options.precision, options.device(target))
        for layer in options.layer_precision:
            check_precision(target, layer.precision, options.device(target), f"--layer-precision {layer.glob}=")
        layers = {layer.glob: layer.precision for layer in options.layer_precision}  # a place each, no graph yet
        scheme = options.scheme_of(target, layers)
        needing = [name for name in (options.precision, *layers.values()) if _needs_data(target, name, options)]
        if needing and not has_data:
            raise UsageError(
                f"{_flag(needing[0], options)} needs calibration samples: give --calib DATA (a folder, .npz, .jsonl "
                "or file.py:callable), or --statistics FILE of an earlier run, or a precision that needs none"
            )
        check_ends(target, options)
        check_io_dtype(options.io_dtype, scheme.kernel, options.precision)
    _check_toolchains(options)


def _needs_data(target: Target, precision: str, options: ExportOptions) -> bool:
    return target.scheme(precision, options.device(target)).needs_data


def _flag(precision: str, options: ExportOptions) -> str:
    """What on the command line asked for a precision."""
    layer = next((layer for layer in options.layer_precision if layer.precision == precision), None)
    return f"--precision {precision}" if precision == options.precision else f"--layer-precision {layer}"


def scheme_passes(targets: Sequence[Target], scheme: str) -> tuple[str, ...]:
    """The graph passes that a scheme adds for any of the targets.

    Raises:
        UsageError: a target has no such scheme.
    """
    for target in targets:
        if scheme not in target.schemes:
            raise UsageError(f"--scheme {scheme}: the {target.name} target {takes(scheme, target.schemes)}")
    return tuple(dict.fromkeys(name for target in targets for name in target.schemes[scheme]))


def check_precision(target: Target, precision: str, profile: Profile | None, flag: str = "--precision ") -> None:
    """Refuses a precision that the target or the device does not have; `flag` is what stands before it.

    Raises:
        UsageError: says which there are.
    """
    if precision not in target.precisions:
        raise UsageError(f"{flag}{precision}: the {target.name} target {takes(precision, target.precisions)}")
    if profile is not None and precision not in profile.facts["precisions"]:
        why = profile.facts.get("lacks", {}).get(precision)
        raise UsageError(
            f"{flag}{precision} does not run as such on {profile.name}"
            + (f": {why}; " if why is not None else "; ")
            + f"it takes {', '.join(profile.facts['precisions'])}"
        )


def _check_ends(options: ExportOptions) -> None:
    if options.input_layout not in get_args(InputLayout):
        near = did_you_mean(options.input_layout, get_args(InputLayout))
        raise UsageError(f"--input-layout {options.input_layout}: no such layout; {near}")
    if options.shapes_as not in get_args(ShapesAs):
        near = did_you_mean(options.shapes_as, get_args(ShapesAs))
        raise UsageError(f"--shapes-as {options.shapes_as}: no such form; {near}")
    if options.io_dtype not in get_args(IoDtype):
        near = did_you_mean(options.io_dtype, get_args(IoDtype))
        raise UsageError(f"--io-dtype {options.io_dtype}: no such type; {near}")


def check_ends(target: Target, options: ExportOptions) -> None:
    """Refuses inputs and outputs that the target or the device does not have.

    Raises:
        UsageError: says which there are.
    """
    for flag, asked in (("input-layout", options.input_layout), ("io-dtype", options.io_dtype)):
        if asked != "source" and asked not in target.ends:
            raise UsageError(f"--{flag} {asked}: the {target.name} target has no such inputs and outputs; leave it out")
    if options.image_input and "images" not in target.ends:
        raise UsageError(f"--image-input: the {target.name} target takes arrays only; leave it out")
    if options.shapes and "shapes" not in target.ends:
        raise UsageError(f"--shapes: an artifact of the {target.name} target has one shape; leave it out")
    if options.shapes_as != "functions" and not options.shapes:
        raise UsageError(f"--shapes-as {options.shapes_as} needs --shapes")
    if options.states and "states" not in target.ends:
        raise UsageError(f"--state: artifacts of the {target.name} target keep nothing between runs; leave it out")
    if options.build_engine and "engine" not in target.ends:
        raise UsageError(f"--build-engine: the {target.name} target has no engines; leave it out")
    if options.states and options.shapes:
        raise UsageError("--state goes with one shape; leave --shapes out")
    profile = options.device(target)
    taken = profile.facts.get("io-dtypes") if profile is not None else None
    if profile is not None and taken is not None and options.io_dtype not in taken:
        raise UsageError(f"--io-dtype {options.io_dtype} is not for {profile.name}; it takes {', '.join(taken)}")


def check_machine(target: Target, options: ExportOptions) -> None:
    """Refuses a target that this machine cannot build in the way that was asked for.

    Raises:
        ToolchainError: what is missing, and what would fix it.
    """
    require_toolchain(target)
    if options.build_engine:
        cast("BuildsEngines", target).check_device(options.device(target))


def _check_toolchains(options: ExportOptions) -> None:
    missing = []
    for target in options.targets:
        try:
            check_machine(target, options)
        except ToolchainError as error:
            missing.append(error)
    if len(missing) == len(options.targets):
        raise missing[0]
