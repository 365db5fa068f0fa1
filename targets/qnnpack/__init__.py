"""QNNPACK: the int8 engine of PyTorch Mobile, reached through torch.ops.quantized and the lite interpreter's files."""
