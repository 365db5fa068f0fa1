"""TensorRT on Jetson boards: ONNX files, a calibration cache and the scripts that build and check the engine there.

    canonical graph --dialect (Q/DQ)--> --forms--> --typed (halves)--> --opset--> models --save--> files, bundle, scripts/
                                          cache_form --cache--> calibration.cache

What is checked: `limits` (operators and their `restrictions`) before the export; `lint` with its `rules/` on our own and
on any file; `companions` and `proof` on what was written, `oracle` being NVIDIA's parser; `scripts/verify.py` the engine.
"""
