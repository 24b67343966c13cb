"""Which epoch is the best so far, and when to stop waiting for a better one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ftcli.metrics import MONITORS
from ftcli.records import EpochRecord


def score(record: EpochRecord, monitor: str) -> tuple[float, float]:
    """Return what epochs are ranked by, larger is better: the monitor, then the val loss to break ties."""
    return MONITORS[monitor].sign * record.val[monitor.removeprefix("val_")], -record.val["loss"]


@dataclass(frozen=True)
class Watch:
    """The best epoch of a run, and how long the current phase has waited for a better one of its own.

    `waits` has, for each epoch of the phase, how many epochs ago its best one was. A phase is measured against itself:
    unfreezing groups may cost accuracy before it pays.
    """

    monitor: str
    best_epoch: int = 0
    best_score: tuple[float, float] | None = None
    phase_index: int = -1
    phase_score: tuple[float, float] | None = None
    waits: tuple[int, ...] = ()

    def after(self, record: EpochRecord) -> Watch:
        """Return the watch after one more epoch."""
        now = score(record, self.monitor)
        new_phase = record.phase_index != self.phase_index
        phase_score, waits = (None, ()) if new_phase else (self.phase_score, self.waits)
        better_in_phase = phase_score is None or now > phase_score
        watch = replace(
            self,
            phase_index=record.phase_index,
            phase_score=now if better_in_phase else phase_score,
            waits=(*waits, 0 if better_in_phase else waits[-1] + 1),
        )
        if self.best_score is None or now > self.best_score:
            return replace(watch, best_epoch=record.epoch, best_score=now)
        return watch

    def exhausted_after(self, patience: int | None) -> int | None:
        """Return after how many epochs of the phase it had waited for `patience` epochs; None if it has not yet."""
        if patience is None:
            return None
        return next((number for number, waited in enumerate(self.waits, start=1) if waited >= patience), None)
