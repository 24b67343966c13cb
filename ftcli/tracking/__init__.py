"""Tells the trackers that a recipe names, TensorBoard and MLflow, how a run goes."""
