"""Trains, scores and forecasts: opens no file of a run and prints nothing."""
