"""Lowerings of this target's own; importing the package registers them."""

from edgeport.targets.executorch.ops import activation, order, pool, product, quantization, reduce, remainder

__all__ = ["activation", "order", "pool", "product", "quantization", "reduce", "remainder"]
