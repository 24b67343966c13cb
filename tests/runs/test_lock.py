from pathlib import Path

import pytest

from ftcli.errors import RunDirectoryError, RunGoneError
from ftcli.runs.directory import RunDirectory
from ftcli.runs.lock import exclusive


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr("ftcli.runs.lock.PATIENCE_SECONDS", 0)
    (tmp_path / "a").mkdir()
    return RunDirectory(tmp_path / "a")


def test_only_one_holder_at_a_time(run: RunDirectory) -> None:
    with exclusive(run), pytest.raises(RunDirectoryError) as caught, exclusive(run):
        pass
    assert caught.value.where == str(run.path)
    with exclusive(run):
        pass


def test_a_run_in_its_place_passes_the_check(run: RunDirectory) -> None:
    with exclusive(run) as lock:
        lock.check()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_that_was_moved_or_replaced_is_reported(run: RunDirectory, *, replaced: bool) -> None:
    with exclusive(run) as lock:
        run.path.rename(run.path.with_name("b"))
        if replaced:
            run.path.mkdir()
            run.lock.touch()
        with pytest.raises(RunGoneError) as caught:
            lock.check()
    assert caught.value.where == str(run.path)
