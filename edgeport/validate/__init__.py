"""Runners, metrics, the drift ladder and budgets."""
