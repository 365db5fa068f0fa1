"""Core AI: Apple's .aimodel (iOS and macOS 27), run by its own runtime for Linux."""
