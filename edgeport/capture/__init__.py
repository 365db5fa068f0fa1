"""Source -> graph."""
