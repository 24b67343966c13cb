from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftcli.errors import RunDirectoryError, RunError
from ftcli.records import EpochRecord
from ftcli.run.directory import RunDirectory, create, default_name, open_run
from ftcli.run.files import duplicate, write_text, write_with

FILES = {"recipe.yaml": "data: {root: x}\n", "plan.json": {"schema": 1}}


def test_a_run_directory_appears_with_its_first_files_or_not_at_all(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs/a")
    create(run, FILES, overwrite=False)
    assert open_run(run.path).recipe_values() == {"data": {"root": "x"}}
    with pytest.raises(RunError):
        create(RunDirectory(tmp_path / "runs/b"), {"recipe.yaml": "x", "no/such/folder.json": {}}, overwrite=False)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


def test_a_second_run_of_the_same_name_loses_cleanly(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a")
    create(run, FILES, overwrite=False)
    with pytest.raises(RunDirectoryError, match="exists already"):
        create(run, FILES, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_overwriting_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a")
    create(run, FILES, overwrite=False)
    write_text(run.path / "old", "old")
    create(run, FILES, overwrite=True)
    assert not (run.path / "old").exists()
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "plan.json",
        "predictions",
        "recipe.yaml",
    ]


def test_records_read_back_and_damage_is_located(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a")
    create(run, FILES, overwrite=False)
    record = EpochRecord("p", 0, 1, {"head": 0.1, "stem": None}, 1.0, 0.5, {"loss": 1.0}, 0.1)
    run.append(record)
    assert list(run.records()) == [record]
    with run.metrics.open("a") as file:
        file.write('{"phase": "p"')
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl:2"):
        list(run.records())


def test_a_missing_run_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="ftcli train"):
        open_run(tmp_path / "missing")
    with pytest.raises(RunDirectoryError, match=r"has no recipe\.yaml"):
        open_run(tmp_path)


def test_the_default_name_tells_recipe_time_and_seed() -> None:
    name = default_name(Path("configs/fine_tune.yaml"), 3, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name == "fine_tune-20260102-030405-s3"


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_text(target, "old")

    def half(path: Path) -> None:
        path.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="No space left"):
        write_with(target, half)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_duplicate_does_not_follow_when_the_source_is_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "last", "one")
    duplicate(tmp_path / "last", tmp_path / "best")
    write_text(tmp_path / "last", "two")
    assert (tmp_path / "best").read_text() == "one"
