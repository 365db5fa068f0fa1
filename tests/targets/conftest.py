"""Its presence puts this folder on the path, so that `onnx_graphs` serves the tests of every target."""
