"""Runs the ML program of a saved .mlpackage in numpy, without coremltools and without a Mac."""
