"""Wires the parts together, one file per command; each returns a frozen result."""
