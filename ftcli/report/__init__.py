"""Shows results: the only code that prints."""
