"""Features on disk, computed once by frozen prefixes and shared between runs."""
