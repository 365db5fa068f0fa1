"""What is written beside the artifacts: the manifest."""
