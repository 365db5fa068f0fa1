"""TensorRT on Jetson boards: ONNX files, a calibration cache and the scripts that build and check the engine there.

    canonical graph --> dialect (Q/DQ) --> forms --> typed (halves) --> opset --> save --> files, with scripts/ beside
                  `---> cache_form, of which cache writes calibration.cache

`models` puts the chain together. `limits` (operators and their `restrictions`) looks at a graph before the export;
`lint`, with its `rules/`, at our files and at any other; `proof` (NVIDIA's parser is `oracle`) and `companions` at what
was written; `scripts/verify.py` at the engine.
"""
