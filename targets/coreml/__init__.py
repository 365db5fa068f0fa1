"""Core ML: an ML program in a .mlpackage, checked by an evaluator of the saved bytes."""
