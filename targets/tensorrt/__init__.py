"""TensorRT on Jetson boards: ONNX files, a calibration cache and the scripts that build and check the engine there."""
