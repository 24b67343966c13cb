"""Labelling images without labels: what is written, what is skipped, and what a later call completes."""

import csv
import io
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.support import Ftcli, MakeRun, write_images

from ftcli.errors import StoppedAtOnce
from ftcli.runs.predictions_file import read_predictions


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_image_of_a_folder_has_the_label_that_eval_gives_it(ftcli: Ftcli, trained: Path, tiny: Path) -> None:
    rows = rows_of(ftcli("predict", trained, tiny / "val", "--probabilities").out)
    scored = read_predictions(trained / "predictions/val.csv")
    assert [row["path"] for row in rows] == [str(tiny / path) for path in scored.paths]
    assert [row["sha256"] for row in rows] == list(scored.sha256)
    assert [row["predicted"] for row in rows] == [scored.classes[label] for label in scored.predicted]
    given = np.array([[float(row[f"probability:{name}"]) for name in scored.classes] for row in rows])
    assert given == pytest.approx(scored.probabilities, abs=1e-6)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(given.max(axis=1))


def test_files_patterns_and_a_list_on_stdin_keep_their_order(
    ftcli: Ftcli, trained: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    red, blue = tiny / "val/red", tiny / "val/blue"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{blue}/001.png\n\n{red}/005.png\n"))
    rows = rows_of(ftcli("predict", trained, red / "003.png", f"{blue}/00[01].png", "-").out)
    wanted = [red / "003.png", blue / "000.png", blue / "001.png", red / "005.png"]
    assert [row["path"] for row in rows] == list(map(str, wanted))


def test_json_lines_tables_and_one_object_hold_the_same_labels(ftcli: Ftcli, trained: Path, tiny: Path) -> None:
    image = tiny / "val/red/000.png"
    (row,) = rows_of(ftcli("predict", trained, image, "--topk", "2").out)
    line = json.loads(ftcli("predict", trained, image, "--format", "jsonl", "--topk", "2").out)
    assert line["predicted"] == row["predicted"]
    assert line["top"][1] == {"class": row["predicted_2"], "probability": pytest.approx(float(row["confidence_2"]))}
    table = ftcli("predict", trained, image, "--format", "table").out.splitlines()
    assert table[1].split()[0] == row["predicted"]
    whole = ftcli("predict", trained, image, "--json", "--topk", "2").json
    assert whole["predictions"] == [line]
    assert whole["labels"][row["predicted"]] == whole["images"] == 1


def test_an_unreadable_file_is_skipped_and_named_and_exits_3(
    ftcli: Ftcli, trained: Path, tiny: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(tiny / "val/red", tmp_path / "photos"))
    (photos / "002.png").write_bytes(b"not an image")
    (photos / "note.txt").write_text("not labelled")
    outcome = ftcli("predict", trained, photos, "-o", "labels.csv", code=3)
    assert f"{photos}/002.png" in outcome.err
    assert outcome.out == ""
    rows = rows_of(Path("labels.csv").read_text())
    assert [Path(row["path"]).name for row in rows] == ["000.png", "001.png", "003.png", "004.png", "005.png"]
    assert ftcli("predict", trained, photos, "--json", code=3).json["skipped"][0]["path"] == f"{photos}/002.png"


def test_an_interrupted_call_is_completed(
    ftcli: Ftcli, trained: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("predict", trained, tiny / "val", "-o", "labels.csv", "--batch-size", "2", "--topk", "2")
    ftcli(*command)
    whole = Path("labels.csv").read_text()
    Path("labels.csv").unlink()

    def interrupted(_: object, what: str, done: int, _total: int) -> None:
        if what == "images" and done == 5:
            raise StoppedAtOnce(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr("ftcli.report.progress.LineProgress.step", interrupted)
        assert "with --continue" in ftcli(*command, code=143).err
    part = Path(".labels.csv.part")
    assert not Path("labels.csv").exists()
    assert part.read_text().count("\n") == 6
    part.write_text(part.read_text() + "half a li")
    labelled = ftcli(*command, "--continue").err
    assert "7 images" in labelled
    assert Path("labels.csv").read_text() == whole
    assert not list(Path().glob(".labels*"))
    assert "--continue" in ftcli(*command, "--continue", code=2).err


def test_a_part_with_other_columns_is_not_continued(ftcli: Ftcli, trained: Path, tiny: Path) -> None:
    Path(".labels.csv.part").write_text("path,sha256,predicted,confidence\n")
    Path(".labels.csv.part.json").write_text('{"schema": 1, "checkpoint_sha256": "0", "format": "csv"}')
    command = ("predict", trained, tiny / "val", "-o", "labels.csv", "--continue")
    assert "another checkpoint sha256" in ftcli(*command, code=2).err
    assert Path(".labels.csv.part").exists()


def test_images_below_the_threshold_of_a_precision_are_not_labelled(
    ftcli: Ftcli, make_run: MakeRun, trained: Path, tiny: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    err = ftcli("predict", run, tiny / "val", "--target-precision", "0.99", code=2).err
    assert "12 images" in err
    measured = read_predictions(make_run("other", classes=("blue", "red"), images=400) / "predictions/val.csv")
    from ftcli.evaluation.abstention import abstention

    found = abstention(measured, target=0.9).suggestion
    assert found is not None
    (run / "summary.json").unlink()  # it holds the checksum of the predictions
    shutil.copy(tmp_path / "other/predictions/val.csv", run / "predictions/val.csv")
    rows = rows_of(ftcli("predict", run, tiny / "val", "--target-precision", "0.9").out)
    for row in rows:
        assert (row["predicted"] == "abstain") == (float(row["confidence"]) < found.threshold)


def test_a_checkpoint_outside_its_run_promises_no_precision(ftcli: Ftcli, trained: Path, tiny: Path) -> None:
    shutil.copy(trained / "checkpoints/best.safetensors", "copy.safetensors")
    assert len(rows_of(ftcli("predict", "copy.safetensors", tiny / "val").out)) == 12
    err = ftcli("predict", "copy.safetensors", tiny / "val", "--target-precision", "0.5", code=2).err
    assert "copy.safetensors" in err


@pytest.mark.parametrize("how", ["copy", "link", "move"])
def test_images_are_sorted_into_folders_of_their_classes(
    ftcli: Ftcli, trained: Path, tiny: Path, tmp_path: Path, how: str
) -> None:
    photos = Path(shutil.copytree(tiny / "val", tmp_path / "photos"))
    command = ("predict", trained, photos, "--sort-into", tmp_path / "sorted", "--by", how)
    ftcli(*command, "--dry-run")
    assert not (tmp_path / "sorted").exists()
    rows = rows_of(ftcli(*command).out)
    for row in rows:
        name = Path(row["path"]).relative_to(photos)
        placed = tmp_path / "sorted" / row["predicted"] / name
        assert placed.read_bytes() == (tiny / "val" / name).read_bytes()
        assert placed.is_symlink() == (how == "link")
        assert Path(row["path"]).exists() == (how != "move")


def test_a_folder_of_its_own_images_is_no_place_to_sort_into(
    ftcli: Ftcli, trained: Path, tiny: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(tiny / "val", tmp_path / "photos"))
    assert "lies inside" in ftcli("predict", trained, photos, "--sort-into", photos / "sorted", code=2).err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere",), 3, "nowhere"),
        (("no*where",), 3, "no*where"),
        ((".",), 3, "no images below this folder"),
        ((".", "--continue"), 2, "--output"),
        ((".", "--dry-run"), 2, "--sort-into"),
        ((".", "--topk", "0"), 2, "--topk"),
        ((".", "-o", "missing/below/labels.csv"), 2, "missing/below"),
    ],
)
def test_wrong_arguments_are_refused(
    ftcli: Ftcli, trained: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in ftcli("predict", trained, *arguments, code=code).err


def test_memory_does_not_grow_with_the_number_of_images(ftcli: Ftcli, trained: Path, tmp_path: Path) -> None:
    """At most a few batches are decoded and not yet written."""
    write_images(tmp_path / "many", count=60, colour=(70, 90, 180), side=8)
    reading, written = [], []
    from ftcli.engine import inference

    usual = inference.read_content

    def counted(path: Path, **options: str) -> bytes:
        reading.append(path)
        ahead.append(len(reading) - len(written))
        return usual(path, **options)

    ahead: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "read_content", counted)
        patch.setattr(
            "ftcli.report.progress.LineProgress.step", lambda _self, _what, done, _total: written.append(done)
        )
        ftcli("predict", trained, tmp_path / "many", "--batch-size", "4")
    assert len(reading) == 60
    assert max(ahead) <= 4 * 4
