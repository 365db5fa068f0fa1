"""One folder a target."""
