"""`--profile` with several targets."""

from __future__ import annotations

import pytest

from edgeport.devices import devices_for
from edgeport.errors import UsageError


def test_every_target_has_the_device_that_is_its_own() -> None:
    found = devices_for(["pixel-8", "jetson-orin-jp6", "pixel-8"], ["tensorrt", "coreml", "tflite"])
    assert {target: profile.name for target, profile in found.items()} == {
        "tflite": "pixel-8",
        "tensorrt": "jetson-orin-jp6",
    }


@pytest.mark.parametrize(
    ("profiles", "said"),
    [
        (["iphone-16-ios18"], "a device for target coreml, not tflite, tensorrt"),
        (["jetson-orin-jp6", "jetson-thor-jp7"], "both are for target tensorrt"),
        (["jetson-orin"], "jetson-orin-jp"),
    ],
)
def test_a_device_without_a_target_of_its_own_is_refused(profiles: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        devices_for(profiles, ["tflite", "tensorrt"])
