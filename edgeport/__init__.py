"""edgeport: take a trained float model to phones and boards, and prove how far every file drifted."""

__version__ = "0.1.0"
