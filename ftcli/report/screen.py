"""Owns the console for progress, which never stops what it tells of."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ftcli.report.streams import let_go


class Screen(Console):
    """A console that falls silent once what it says cannot be written: its reader has gone, or its disk is full."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, if that is still possible."""
        try:
            super().print(*objects, **options)
        except OSError:
            self._fall_silent()

    def on_broken_pipe(self) -> None:
        """Go on without a reader; rich would leave the program."""
        self._fall_silent()

    def _fall_silent(self) -> None:
        self.quiet = True
        let_go(self.file)
