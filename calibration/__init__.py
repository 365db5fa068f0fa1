"""Sample sources, statistics, ranges and the streamed calibration run."""

from edgeport.calibration.cached import cached_collect
from edgeport.calibration.checks import check_samples
from edgeport.calibration.collect import collect
from edgeport.calibration.identity import graph_digest
from edgeport.calibration.powers import ChannelPowers
from edgeport.calibration.preprocessing import Preprocessing
from edgeport.calibration.ranges import METHODS, Method, choose_range
from edgeport.calibration.samples import Data, SampleSource, open_samples, split
from edgeport.calibration.statistics import Request, Statistics, TensorStatistics

__all__ = [
    "METHODS",
    "ChannelPowers",
    "Data",
    "Method",
    "Preprocessing",
    "Request",
    "SampleSource",
    "Statistics",
    "TensorStatistics",
    "cached_collect",
    "check_samples",
    "choose_range",
    "collect",
    "graph_digest",
    "open_samples",
    "split",
]
