"""Owns what frozen prefixes computed, kept on disk and shared between runs: the only code that knows the cache's files."""
