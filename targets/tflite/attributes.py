"""Typed reading of ONNX attributes, with the operator's default where one is absent."""

from __future__ import annotations

import onnx_ir as ir


def int_attr(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_int()


def float_attr(node: ir.Node, name: str, default: float) -> float:
    """A float attribute."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_float()


def string_attr(node: ir.Node, name: str, default: str) -> str:
    """A string attribute."""
    attr = node.attributes.get(name)
    return default if attr is None else attr.as_string()


def ints_attr(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """A list of integers, None if absent."""
    attr = node.attributes.get(name)
    return None if attr is None else tuple(attr.as_ints())
