"""`--profile`: the devices that the artifacts are for, at most one for each target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeport.errors import UsageError
from edgeport.targets.contract import Profile
from edgeport.targets.registry import load_profile

Devices = Mapping[str, Profile]
"""Target's name -> its device; a target without one is not there."""


def devices_for(profiles: Iterable[str], targets: Iterable[str]) -> Devices:
    """The device of each target.

    Args:
        profiles: names of device profiles.
        targets: names of the targets that are asked for.

    Raises:
        UsageError: there is no such profile, its target is not asked for, or two are for one target.
    """
    asked = list(targets)
    found: dict[str, Profile] = {}
    for profile in map(load_profile, dict.fromkeys(profiles)):
        if profile.target not in asked:
            raise UsageError(
                f"--profile {profile.name} is a device for target {profile.target}, not {', '.join(asked)}"
            )
        if profile.target in found:
            raise UsageError(
                f"--profile {found[profile.target].name},{profile.name}: both are for target {profile.target}; "
                "export for one device after the other"
            )
        found[profile.target] = profile
    return found
