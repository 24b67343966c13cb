import io

import pytest
from rich.console import Console

from ftcli.report.progress import LiveProgress


@pytest.fixture
def clock():
    return {"now": 0.0}


@pytest.fixture
def live(clock):
    progress = LiveProgress(Console(file=io.StringIO(), force_terminal=True, width=100))
    progress.bar.get_time = lambda: clock["now"]
    return progress


def _train(live, clock, epoch, *, batches, of=16):
    for batch in range(1, batches + 1):
        clock["now"] += 1.0
        if batch < of:
            live.step(f"epoch {epoch}", batch, of)
        else:
            live.step(f"epoch {epoch}: scoring val", 0, None)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_the_time_that_remains_is_that_of_the_epoch_at_hand(live, clock, epoch):
    for earlier in range(1, epoch):
        _train(live, clock, earlier, batches=16)
    _train(live, clock, epoch, batches=6)
    (task,) = live.bar.tasks
    assert (task.description, task.fields["steps"]) == (f"epoch {epoch}", "6/16")
    assert task.time_remaining == pytest.approx(10, abs=1)


def test_after_the_last_batch_the_bar_says_that_val_is_scored(live, clock):
    _train(live, clock, 1, batches=16)
    (task,) = live.bar.tasks
    assert task.description == "epoch 1: scoring val"
    assert task.total is None, "how long it takes is not known, so the bar swings"


@pytest.mark.parametrize("views_of_val", [48, 80])
def test_the_features_of_val_have_a_bar_of_their_own(live, clock, views_of_val):
    for views in (80, views_of_val):
        for done in range(0, views // 2 + 1, 8):
            live.step("features", done, views)
            clock["now"] += 1.0
    (task,) = live.bar.tasks
    assert (task.completed, task.total) == (views_of_val // 2, views_of_val)
    assert task.start_time == 6.0
