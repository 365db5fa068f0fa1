"""From the canonical opset down to an older one that a runtime reads."""
