"""Targets by name, found through the entry point group `edgeport.targets`, and device profiles by file name."""

from __future__ import annotations

import importlib.util
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from edgeport.errors import ToolchainError, UsageError
from edgeport.suggest import did_you_mean
from edgeport.targets.contract import Profile, Target

GROUP = "edgeport.targets"
_PROFILES = Path(__file__).parent / "profiles"


def target_names() -> tuple[str, ...]:
    """The names of all installed targets, sorted."""
    return tuple(sorted(_entries()))


def load_target(name: str) -> Target:
    """The target of that name; its toolchain need not be installed.

    Raises:
        UsageError: there is no such target.
    """
    entries = _entries()
    if name not in entries:
        raise UsageError(f"--target {name}: no such target; {did_you_mean(name, sorted(entries))}")
    target: Target = entries[name].load()
    return target


def missing_requirements(target: Target) -> tuple[str, ...]:
    """pip requirements of the target's toolchain that are not installed here."""
    return tuple(
        dict.fromkeys(req for module, req in target.toolchain.items() if importlib.util.find_spec(module) is None)
    )


def require_toolchain(target: Target) -> None:
    """Refuses a target that cannot be built here.

    Raises:
        ToolchainError: with the pip line that would fix it.
    """
    missing = missing_requirements(target)
    if missing:
        raise ToolchainError(
            f"target {target.name}: {', '.join(missing)} is not installed; run: pip install 'edgeport[{target.name}]'"
        )


def profile_names() -> tuple[str, ...]:
    """The names of all device profiles, sorted."""
    return tuple(sorted(path.stem for path in _PROFILES.glob("*.toml")))


def load_profile(name: str, flag: str = "--profile") -> Profile:
    """The device profile of that name; `flag` is where the name was given.

    Raises:
        UsageError: there is no such profile.
    """
    if name not in profile_names():
        raise UsageError(f"{flag} {name}: no such device; {did_you_mean(name, profile_names())}")
    facts = tomllib.loads((_PROFILES / f"{name}.toml").read_text(encoding="utf-8"))
    return Profile(name, facts["target"], facts)


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
