"""Puts `onnx_graphs`, which the tests of targets share, on the path of the torch view's."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "targets"))
