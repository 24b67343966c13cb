"""What can be wrong with a dataset, one kind of finding per file."""
