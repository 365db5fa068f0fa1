"""What lowerings of ONNX's Attention (opset 24) have in common."""

from __future__ import annotations

import numpy as np

ATTENTION_ATTRIBUTES = (
    "is_causal",
    "kv_num_heads",
    "q_num_heads",
    "qk_matmul_output_mode",
    "scale",
    "softcap",
    "softmax_precision",
)
"""All of its attributes. `q_num_heads` and `kv_num_heads` describe 3-D inputs, which lowerings refuse;
`qk_matmul_output_mode` says what an output holds that they refuse, and `softmax_precision` in which float type at least
to compute."""

FORBIDDEN = np.float32(-3.402e38)
"""A mask below forbids a key even if nothing else is left: minus infinity and, as in ONNX Runtime, the lowest float."""
