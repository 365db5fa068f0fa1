"""Source -> graph."""

from edgeport.capture.captured import Captured
from edgeport.capture.source import capture

__all__ = ["Captured", "capture"]
