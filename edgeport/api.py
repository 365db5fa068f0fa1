"""The Python interface. The command line calls these functions and prints what they return."""

from edgeport.calibrating import calibrate
from edgeport.environment import doctor, targets
from edgeport.exporting import export
from edgeport.inspecting import inspect
from edgeport.progress import Progress
from edgeport.quantized_transformer import QuantizedTransformer
from edgeport.results import ExportResult, Result
from edgeport.validating import validate
from edgeport.viewing import torch_view

__all__ = [
    "ExportResult",
    "Progress",
    "QuantizedTransformer",
    "Result",
    "calibrate",
    "doctor",
    "export",
    "inspect",
    "targets",
    "torch_view",
    "validate",
]
