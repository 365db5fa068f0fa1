"""The ExecuTorch target: programs for PyTorch's runtime on phones, with XNNPACK's kernels."""
