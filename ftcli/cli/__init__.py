"""The command line: flags in, one call, one renderer, an exit code."""

from ftcli.cli.program import app, main

__all__ = ["app", "main"]
