import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftcli.errors import RunDirectoryError, RunError
from ftcli.records import EpochRecord, ProbeRecord, RunSummary, StrengthTrial
from ftcli.runs.checkpoint import load_checkpoint
from ftcli.runs.create import check_free, create
from ftcli.runs.directory import RunDirectory, default_name, open_run
from ftcli.runs.files import append_line, write_text

FILES = {"recipe.yaml": "data: {root: x}\n", "plan.json": {"schema": 1}, "environment.json": {"format": 1}}


def test_a_run_directory_appears_with_its_first_files_or_not_at_all(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs/a")
    create(run, FILES, overwrite=False)
    assert open_run(run.path).recipe_values() == {"data": {"root": "x"}}
    with pytest.raises(RunError):
        create(RunDirectory(tmp_path / "runs/b"), {"recipe.yaml": "x", "no/such/folder.json": {}}, overwrite=False)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


def test_a_second_run_of_the_same_name_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a")
    create(run, FILES, overwrite=False)
    with pytest.raises(RunDirectoryError) as caught:
        create(run, FILES, overwrite=False)
    assert caught.value.where == str(run.path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_overwriting_leaves_nothing_of_the_old_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "a")
    create(run, FILES, overwrite=False)
    write_text(run.path / "old", "old")
    create(run, FILES, overwrite=True)
    assert not (run.path / "old").exists()
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "environment.json",
        "plan.json",
        "predictions",
        "recipe.yaml",
    ]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "a")
    create(run, FILES, overwrite=False)
    return run


def record_of(epoch: int) -> EpochRecord:
    return EpochRecord("p", 0, epoch, {"head": 0.1, "stem": None}, 1.0, 0.5, {"loss": 1.0}, 0.1)


def test_records_read_back(run: RunDirectory) -> None:
    fitted = ProbeRecord(0.1, 5, (StrengthTrial(0.1, 0.7), StrengthTrial(1.0, 0.6)), 12, 1e-7)
    records = [record_of(1), replace(record_of(2), probe=fitted, cached=True)]
    for record in records:
        run.append(record)
    assert list(run.records()) == records
    assert all(json.loads(line)["schema"] == 1 for line in run.metrics.read_text().splitlines())


def test_an_incomplete_last_line_is_skipped(run: RunDirectory) -> None:
    run.append(record_of(1))
    with run.metrics.open("a") as file:
        file.write('{"schema": 1, "phase": "p", "pha')
    assert list(run.records()) == [record_of(1)]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("", "Expecting value"),
        ('{"phase": "p"', "Expecting"),
        ("[]", "not a JSON object"),
        ("[" * 10_000, "recursion"),
        ('{"schema": 2}', "schema 2;"),
        ('{"schema": 1, "phase": 3}', "phase: .*string"),
        (json.dumps(record_of(1).to_json()).replace("0.5", "NaN"), "not JSON compliant"),
        (json.dumps(record_of(1).to_json()), "line 2 has epoch 1, not 2"),
    ],
)
def test_a_damaged_record_is_reported_with_its_line(run: RunDirectory, line: str, part: str) -> None:
    run.append(record_of(1))
    with run.metrics.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunDirectoryError, match=f"line 2 .*{part}|{part}") as caught:
        list(run.records())
    assert caught.value.where == str(run.metrics)


def test_a_field_of_a_later_version_is_ignored(run: RunDirectory) -> None:
    append_line(run.metrics, json.dumps({**record_of(1).to_json(), "carbon": 3}))
    assert list(run.records()) == [record_of(1)]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "JSON: Expecting value on line 1"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[1]", "JSON"),
        ('{"format": NaN}', "NaN"),
        ('{"format": 2}', "format 2;"),
        ('{"schema": 9, "format": 1}', "schema 9;"),
        ("{}", "format None;"),
    ],
)
def test_a_layout_of_another_version_or_none_is_refused(run: RunDirectory, content: str, part: str) -> None:
    run.environment.write_text(content)
    with pytest.raises(RunDirectoryError, match=part) as caught:
        open_run(run.path)
    assert caught.value.where == str(run.environment)


@pytest.fixture
def finished(run: RunDirectory) -> RunDirectory:
    for name in ("dataset.json", "metrics.jsonl", "predictions/val.csv", "checkpoints/best.safetensors"):
        write_text(run.path / name, name)
    run.finish(RunSummary(1, 1, "val_accuracy", {}, 1, 1.0, 1.0))
    return run


@pytest.mark.parametrize("name", [*FILES, "dataset.json", "metrics.jsonl", "predictions/val.csv"])
@pytest.mark.parametrize("damage", ["missing", "cut", "replaced", "a folder"])
def test_a_changed_file_of_a_finished_run_is_refused_by_name(finished: RunDirectory, name: str, damage: str) -> None:
    assert open_run(finished.path) == finished
    file = finished.path / name
    content = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "replaced":
        file.write_bytes((finished.path / ("plan.json" if name != "plan.json" else "environment.json")).read_bytes())
    elif damage == "a folder":
        file.mkdir()
    with pytest.raises(RunDirectoryError) as caught:
        open_run(finished.path)
    assert Path(caught.value.where or "") in {file, finished.path}
    assert file.name in str(caught.value)


def test_checkpoints_are_checked_when_they_are_loaded(finished: RunDirectory) -> None:
    write_text(finished.best, "of another run")
    assert open_run(finished.path) == finished
    with pytest.raises(RunDirectoryError, match="checksum") as caught:
        load_checkpoint(finished.path)
    assert caught.value.where == str(finished.best)


@pytest.mark.parametrize(("old", "new"), [('"best_epoch": 1', '"best_epoch": 2'), ('"sha256"', '"sha255"'), ("{", "")])
def test_a_damaged_summary_is_named(finished: RunDirectory, old: str, new: str) -> None:
    finished.summary.write_text(finished.summary.read_text().replace(old, new, 1))
    with pytest.raises(RunDirectoryError) as caught:
        open_run(finished.path)
    assert caught.value.where == str(finished.summary)


def test_a_summary_with_its_keys_in_another_order_is_accepted(finished: RunDirectory) -> None:
    finished.summary.write_text(json.dumps(dict(reversed(json.loads(finished.summary.read_text()).items()))))
    assert open_run(finished.path) == finished


def test_a_file_in_place_of_the_parent_folder_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunDirectoryError) as caught:
        check_free(RunDirectory(tmp_path / "file" / "runs" / "a"), overwrite=False)
    assert caught.value.where == str(tmp_path / "file")


def test_a_link_is_not_overwritten(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path)
    assert open_run(tmp_path / "link").recipe_values() == {"data": {"root": "x"}}
    with pytest.raises(RunDirectoryError, match="link") as caught:
        create(RunDirectory(tmp_path / "link"), FILES, overwrite=True)
    assert caught.value.where == str(tmp_path / "link")
    assert run.recipe.exists()


def test_a_missing_run_has_a_hint(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="ftcli train"):
        open_run(tmp_path / "missing")
    with pytest.raises(RunDirectoryError, match=r"has no recipe\.yaml"):
        open_run(tmp_path)


def test_the_default_name_has_recipe_time_and_seed() -> None:
    name = default_name(Path("configs/fine_tune.yaml"), 3, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert name == "fine_tune-20260102-030405-s3"


def test_the_name_of_a_new_run_directory_is_flushed(tmp_path: Path, to_disk: list[str]) -> None:
    create(RunDirectory(tmp_path / "a"), {"recipe.yaml": "x"}, overwrite=False)
    assert to_disk[-2] == "name a"
    assert "'a'" in to_disk[-1]
