"""The Python interface. The command line calls these functions and prints what they return."""

from edgeport.exporting import export
from edgeport.progress import Progress
from edgeport.results import ExportResult, Result

__all__ = ["ExportResult", "Progress", "Result", "export"]
