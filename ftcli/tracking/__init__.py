"""Reporting a run to TensorBoard and MLflow."""
