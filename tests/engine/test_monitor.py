import numpy as np

from ftcli.engine.monitor import Watch
from ftcli.evaluation.resampling import quick_metrics
from ftcli.records import EpochRecord


def record(epoch: int, accuracy: float, loss: float, phase: int = 0) -> EpochRecord:
    val = {"accuracy": accuracy, "loss": loss, "macro_f1": 1 - accuracy}
    return EpochRecord("p", phase, epoch, {}, 0.0, 0.0, val, 0.0)


def watched(records: list[EpochRecord], monitor: str = "val_accuracy") -> Watch:
    watch = Watch(monitor)
    for each in records:
        watch = watch.after(each)
    return watch


def test_the_best_epoch_is_the_most_accurate() -> None:
    assert watched([record(1, 0.5, 1.0), record(2, 0.9, 9.0), record(3, 0.8, 0.1)]).best_epoch == 2


def test_ties_go_to_the_lower_loss_and_then_to_the_earlier_epoch() -> None:
    assert watched([record(1, 0.9, 1.0), record(2, 0.9, 0.5), record(3, 0.9, 0.5)]).best_epoch == 2


def test_the_monitor_decides_which_epoch_is_best() -> None:
    records = [record(1, 0.5, 1.0), record(2, 0.9, 9.0), record(3, 0.8, 0.1)]
    assert watched(records, "val_loss").best_epoch == 3
    assert watched(records, "val_macro_f1").best_epoch == 1


def test_balanced_accuracy_prefers_a_model_that_knows_both_of_two_uneven_classes() -> None:
    labels = np.repeat([0, 1], [100, 10])
    one, both = np.zeros(110, dtype=int), np.where(np.arange(110) < 20, 1, labels)
    records = [
        EpochRecord("p", 0, epoch, {}, 0.0, 0.0, quick_metrics(labels, np.eye(2)[predicted] * 0.8 + 0.1), 0.0)
        for epoch, predicted in ((1, one), (2, both))
    ]
    assert watched(records, "val_accuracy").best_epoch == 1
    assert watched(records, "val_balanced_accuracy").best_epoch == 2


def test_patience_counts_epochs_without_a_better_one() -> None:
    watch = watched([record(1, 0.9, 1.0), record(2, 0.8, 1.0), record(3, 0.8, 1.0)])
    assert watch.waits == (0, 1, 2)
    assert [watch.exhausted_after(patience) for patience in (1, 2, 3, None)] == [2, 3, None, None]


def test_patience_stays_exhausted_when_a_better_epoch_follows() -> None:
    assert watched([record(1, 0.9, 1.0), record(2, 0.8, 1.0), record(3, 0.95, 1.0)]).exhausted_after(1) == 2


def test_a_phase_is_measured_against_itself() -> None:
    watch = watched([record(1, 0.9, 1.0), record(2, 0.5, 1.0, phase=1), record(3, 0.6, 1.0, phase=1)])
    assert watch.waits == (0, 0)
    assert watch.best_epoch == 1
