"""Sample sources, statistics, ranges and the streamed calibration run."""
