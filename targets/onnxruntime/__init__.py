"""ONNX Runtime on phones, desktops and in browsers: ONNX files whose Q/DQ its CPU kernels take up, and .ort files.

    canonical graph --> dialect (Q/DQ, MatMulNBits, ...) --> forms --> an older opset --> NAME.PRECISION.onnx [--> .ort]

`scheme` says what runs in integers, `kernels` what ONNX Runtime made of the file, `web` runs it as browsers do.
"""
