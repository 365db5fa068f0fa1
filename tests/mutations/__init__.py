"""Models damaged at random, and what becomes of them: `python -m tests.mutations --help`."""
