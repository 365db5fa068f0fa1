"""Scheme -> plan -> quantized graph."""
