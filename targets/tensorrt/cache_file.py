"""The format of TensorRT's calibration cache.

One line says for which TensorRT and calibrator it is, then there is one a tensor:

    TRT-8502-EntropyCalibration2          TensorRT 8.5.2, which takes the file of no other version
    images: 3c010a14                      the scale, largest magnitude / 127, as a big-endian float32
    conv1/convolution:0: 3d0b7086         the last colon ends the name

No specification of it is published; this is what TensorRT writes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeport.errors import UsageError

Algorithm = Literal["EntropyCalibration2", "MinMaxCalibration"]
_ALGORITHMS: dict[str, Algorithm] = {
    "EntropyCalibration2": "EntropyCalibration2",
    "MinMaxCalibration": "MinMaxCalibration",
}
_HEADER = re.compile(r"TRT-(\d+)-(\w+)")
_SEPARATOR = ": "


@dataclass(frozen=True)
class CalibrationCache:
    """What a calibration cache holds.

    Attributes:
        token: TensorRT's version as the header spells it, see `Version.calibration_token`.
        scales: tensor -> scale, positive and finite, in the order of the file.
        algorithm: of the calibrator that is to read it. trtexec's, and the only one for the accelerators, is
            EntropyCalibration2, however the ranges were chosen.
    """

    token: str
    scales: Mapping[str, float]
    algorithm: Algorithm = "EntropyCalibration2"

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            UsageError: a name or a scale cannot be written.
        """
        lines = [f"TRT-{self.token}-{self.algorithm}"]
        for name, scale in self.scales.items():
            if not can_name(name):
                raise UsageError(f"tensor {name!r}: a calibration cache cannot hold this name; rename it in the model")
            stored = np.float32(scale)
            if not (np.isfinite(stored) and stored > 0):
                raise UsageError(f"tensor {name}: scale {scale:g} is not positive and finite; leave the tensor out")
            lines.append(f"{name}{_SEPARATOR}{struct.pack('>f', stored).hex()}")
        return "".join(line + "\n" for line in lines).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> CalibrationCache:
        """Reads what `to_bytes`, or TensorRT, wrote.

        Raises:
            UsageError: it is no calibration cache, or a damaged one.
        """
        try:
            lines = data.decode().split("\n")
        except UnicodeDecodeError as error:
            raise UsageError(f"calibration cache: no text (byte {error.start}); calibrate again") from error
        header = _HEADER.fullmatch(lines[0].rstrip("\r"))
        if header is None or header[2] not in _ALGORITHMS:
            raise UsageError(f"calibration cache: line 1 is {lines[0][:60]!r}, not e.g. TRT-8502-EntropyCalibration2")
        scales: dict[str, float] = {}
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            name, separator, digits = line.rstrip("\r").rpartition(_SEPARATOR)
            if not separator or re.fullmatch(r"[0-9a-fA-F]{1,8}", digits) is None or name in scales:
                raise UsageError(f"calibration cache: line {number} is not one more NAME: HEX; calibrate again")
            # Some writers print the number in hexadecimal, without leading zeros.
            scales[name] = struct.unpack(">f", bytes.fromhex(digits.zfill(8)))[0]
        return cls(header[1], scales, _ALGORITHMS[header[2]])


def can_name(name: str) -> bool:
    """Whether a cache can hold the scale of a tensor of this name.

    A colon is harmless (`input:0`), TensorRT itself writes such names. Readers split lines at ": ", and end them at any
    line break.
    """
    return bool(name) and _SEPARATOR not in name and not any(end in name for end in "\n\r\0")
