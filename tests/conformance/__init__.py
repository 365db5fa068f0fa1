"""ONNX's own node tests through every target's float path: each case passes, is refused, is wrong, or crashes."""
