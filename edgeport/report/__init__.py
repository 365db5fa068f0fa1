"""JSON, HTML and tables."""
