"""Owns what frozen prefixes computed, kept on disk and shared between runs: all that knows the cache's files."""
