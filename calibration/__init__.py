"""Sample sources, statistics, ranges and the streamed calibration run."""

from edgeport.calibration.collect import collect
from edgeport.calibration.preprocessing import Preprocessing
from edgeport.calibration.ranges import METHODS, Method, choose_range
from edgeport.calibration.samples import Data, SampleSource, open_samples, split
from edgeport.calibration.statistics import Request, Statistics, TensorStatistics

__all__ = [
    "METHODS",
    "Data",
    "Method",
    "Preprocessing",
    "Request",
    "SampleSource",
    "Statistics",
    "TensorStatistics",
    "choose_range",
    "collect",
    "open_samples",
    "split",
]
