"""Versions of TensorRT."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:[.\-+].*)?")


@dataclass(frozen=True, order=True)
class Version:
    """A version, compared part by part; what comes after the patch is not kept."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> Version:
        """Reads e.g. `8.5.2`, `10.3` or `10.16.2.10`.

        Raises:
            ValueError: the text is no version.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no version of TensorRT, such as 8.5.2")
        return cls(*(int(part or 0) for part in found.groups()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @property
    def calibration_token(self) -> str:
        """How the header of a calibration cache spells it: `8502` is 8.5.2, `100300` is 10.3.0."""
        major = self.major * (1000 if self.major < 10 else 10000)
        return str(major + self.minor * 100 + self.patch)
