"""Scores predictions: metrics, intervals and comparisons. Never imports torch."""
