"""The run directory and checkpoints: the only code that knows file names."""
