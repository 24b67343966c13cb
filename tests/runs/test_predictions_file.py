import csv
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save

from ftcli.errors import RunDirectoryError
from ftcli.evaluation.predictions import Predictions
from ftcli.evaluation.resampling import metric_values
from ftcli.runs.files import write_bytes
from ftcli.runs.predictions_file import MANY_CELLS, as_kept, read_predictions, write_predictions

ROW = "val/ants/1.jpg,abc,ants,bees,0.25,0.75\n"
HEADER = "path,sha256,label,predicted,probability:ants,probability:bees\n"


def _predictions(probabilities, classes=("ants", "bees"), paths=None):
    images = len(probabilities)
    names = tuple(paths or (f"val/{image}.jpg" for image in range(images)))
    hashes = tuple(f"{image:064x}" for image in range(images))
    labels = np.arange(images, dtype=np.int64) % len(classes)
    return Predictions(classes, names, hashes, labels, np.array(probabilities, dtype=np.float64))


def _same(path, predictions):
    write_predictions(path, predictions)
    back = read_predictions(path)
    assert (back.classes, back.paths, back.sha256) == (predictions.classes, predictions.paths, predictions.sha256)
    assert back.labels.tolist() == predictions.labels.tolist()
    assert back.predicted.tolist() == predictions.predicted.tolist()
    assert back.probabilities == pytest.approx(predictions.probabilities, rel=1e-8)
    return back


def test_the_file_names_its_columns_and_writes_names_not_numbers(tmp_path):
    write_predictions(tmp_path / "val.csv", _predictions([[0.25, 0.75]]))
    hashed = "0" * 64
    assert (tmp_path / "val.csv").read_text() == HEADER + f"val/0.jpg,{hashed},ants,bees,0.25,0.75\n"
    assert [path.name for path in tmp_path.iterdir()] == ["val.csv"]


def test_images_without_labels_have_empty_ones_in_the_file(tmp_path):
    unlabelled = replace(_predictions([[0.25, 0.75], [0.5, 0.5]]), given_labels=None)
    write_predictions(tmp_path / "all.csv", unlabelled)
    assert (tmp_path / "all.csv").read_text().splitlines()[1] == f"val/0.jpg,{'0' * 64},,bees,0.25,0.75"
    back = read_predictions(tmp_path / "all.csv", labelled=False)
    assert back.given_labels is None
    assert (back.paths, back.predicted.tolist()) == (unlabelled.paths, [1, 0])


def test_predictions_of_a_run_that_lost_every_label_are_refused(tmp_path):
    write_predictions(tmp_path / "val.csv", replace(_predictions([[0.25, 0.75], [0.5, 0.5]]), given_labels=None))
    with pytest.raises(RunDirectoryError) as caught:
        read_predictions(tmp_path / "val.csv")
    assert caught.value.where == f"{tmp_path / 'val.csv'}:2"


def test_single_precision_probabilities_come_back_exactly(tmp_path):
    scores = np.random.default_rng(0).random((200, 5), dtype=np.float32)
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float64)
    back = _same(tmp_path / "val.csv", _predictions(probabilities, classes=tuple("abcde")))
    assert np.array_equal(back.probabilities.astype(np.float32), probabilities.astype(np.float32))


def test_rounding_never_changes_the_predicted_class(tmp_path):
    nearly = 0.5 + 1e-13
    back = _same(tmp_path / "val.csv", _predictions([[1 - nearly, nearly]]))
    assert back.predicted.tolist() == [1]


@pytest.mark.parametrize(
    "name",
    ["a,b.jpg", 'say "x".jpg', "line\nbreak.jpg", "carriage\rreturn.jpg", "日本.jpg", "back\\slash.jpg", "\udcff.jpg"],
)
def test_unusual_file_names_survive(tmp_path, name):
    _same(tmp_path / "val.csv", _predictions([[0.25, 0.75], [0.5, 0.5]], paths=[name, "plain.jpg"]))
    with (tmp_path / "val.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["path", name, "plain.jpg"], "any CSV reader finds them"


def test_classes_may_have_the_names_of_columns(tmp_path):
    classes = ("label", "path", "probability:x")
    back = _same(tmp_path / "val.csv", _predictions([[0.25, 0.5, 0.25]], classes=classes))
    assert [back.classes[predicted] for predicted in back.predicted] == ["path"]
    header = (tmp_path / "val.csv").read_text().partition("\n")[0]
    assert header == ",".join(["path,sha256,label,predicted", *(f"probability:{name}" for name in classes)])


def test_numbers_as_class_names_stay_text(tmp_path):
    assert _same(tmp_path / "val.csv", _predictions([[0.25, 0.75]], classes=("007", "1e3"))).classes == ("007", "1e3")


@pytest.mark.parametrize(
    ("text", "place", "information"),
    [
        (HEADER, ":1", ()),
        ("", ":1", ()),
        ("path,label\n" + ROW, ":1", ("path,sha256,label,predicted", "probability:")),
        (HEADER.replace("probability:", "p_") + ROW, ":1", ("probability:",)),
        (HEADER.replace("bees", "ants") + ROW, ":1", ()),
        (HEADER + ROW + ROW[:-8], ":3", ()),
        (HEADER + ROW + "val/ants/1.jpg,abc\n", ":3", ("2", "6")),
        (HEADER + ROW + "\n", ":3", ("0", "6")),
        (HEADER + ROW.replace("0.25", "o.25"), ":2", ("o.25",)),
        (HEADER + ROW.replace("0.25", "nan"), ":2", ()),
        (HEADER + ROW.replace("0.25", "-0.25"), ":2", ()),
        (HEADER + ROW + ROW.replace("0.25", "0.24"), ":3", ("0.99",)),
        (HEADER + ROW.replace(",ants,", ",wasps,"), ":2", ("wasps",)),
        (HEADER + ROW + ROW.replace(",ants,", ",,"), ":3", ("''",)),
        (HEADER + ROW.replace("ants,bees", "ants,ants"), ":2", ()),
        (HEADER + '"unclosed\n', ":2", ()),
    ],
)
def test_a_damaged_file_is_refused_with_file_and_line(tmp_path, text, place, information):
    path = tmp_path / "val.csv"
    path.write_text(text)
    with pytest.raises(RunDirectoryError) as caught:
        read_predictions(path)
    assert caught.value.where == f"{path}{place}"
    assert all(each in caught.value.message for each in information)
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RunDirectoryError) as caught:
        read_predictions(tmp_path / "val.csv")
    assert caught.value.where == str(tmp_path / "val.csv")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_a_folder_or_a_device_is_refused_at_once(tmp_path, make):
    make(tmp_path / "val.csv")
    with pytest.raises(RunDirectoryError) as caught:
        read_predictions(tmp_path / "val.csv")
    assert caught.value.where == str(tmp_path / "val.csv")


@pytest.fixture
def many(monkeypatch):
    """Sixty images of eight classes, which count as many here, some probabilities of which are zero or equal."""
    monkeypatch.setattr("ftcli.runs.predictions_file.MANY_CELLS", 60 * 8 - 1)
    probabilities = np.random.default_rng(0).dirichlet(np.full(8, 0.1), size=60)
    probabilities[0], probabilities[1], probabilities[2] = 1 / 8, np.eye(8)[3], np.repeat([0.25, 0.0], 4)
    return _predictions(probabilities, classes=tuple("abcdefgh"))


def test_only_more_than_a_million_probabilities_are_many():
    assert MANY_CELLS == 1_000_000


def test_many_probabilities_are_in_a_file_beside_a_csv_for_people(tmp_path, many):
    write_predictions(tmp_path / "val.csv", many)
    (beside,) = (path for path in tmp_path.iterdir() if path.name != "val.csv")
    digest = hashlib.sha256((tmp_path / "val.csv").read_bytes()).hexdigest()
    assert beside.name == f"val.csv.{digest[:16]}.safetensors"
    with (tmp_path / "val.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    named = ("top2", "confidence2", "top3", "confidence3", "top4", "confidence4", "top5", "confidence5")
    assert tuple(rows[0]) == ("path", "sha256", "label", "predicted", "confidence", *named)
    assert [rows[2][name] for name in ("predicted", "top2", "top5", "confidence4", "confidence5")] == [
        *"abe",
        "0.25",
        "0",
    ]


def test_what_metrics_depend_on_comes_back_exactly_and_the_rest_nearly(tmp_path, many):
    write_predictions(tmp_path / "val.csv", many)
    back = read_predictions(tmp_path / "val.csv")
    assert (back.classes, back.paths, back.sha256) == (many.classes, many.paths, many.sha256)
    assert np.array_equal(back.labels, many.labels)
    assert np.array_equal(back.predicted, many.predicted)
    assert np.array_equal(back.in_top5, many.in_top5)
    images = np.arange(len(many))
    assert np.array_equal(back.probabilities.max(axis=1), many.probabilities.max(axis=1))
    assert np.array_equal(back.probabilities[images, back.labels], many.probabilities[images, many.labels])
    assert back.probabilities == pytest.approx(many.probabilities, rel=0.02)
    assert back.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert metric_values(back) == pytest.approx(metric_values(many), rel=1e-4)


def test_many_probabilities_of_images_without_labels_come_back(tmp_path, many):
    write_predictions(tmp_path / "val.csv", replace(many, given_labels=None))
    back = read_predictions(tmp_path / "val.csv", labelled=False)
    assert back.given_labels is None
    assert np.array_equal(back.predicted, many.predicted)
    with pytest.raises(RunDirectoryError):
        read_predictions(tmp_path / "val.csv")


def test_a_kill_between_two_files_leaves_the_old_predictions_or_the_new_ones(tmp_path, many, monkeypatch):
    path, later = tmp_path / "val.csv", many.rows(range(len(many) - 1, -1, -1))
    write_predictions(path, many)

    def killed(target, content):
        if target == path:
            raise KeyboardInterrupt
        write_bytes(target, content)

    with monkeypatch.context() as patch:
        patch.setattr("ftcli.runs.predictions_file.write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            write_predictions(path, later)
    assert read_predictions(path).paths == many.paths
    write_predictions(path, later)
    assert read_predictions(path).paths == later.paths
    assert len(list(tmp_path.iterdir())) == 2, "nothing of the first predictions is left"


def test_few_predictions_in_place_of_many_leave_no_file_beside_them(tmp_path, many):
    write_predictions(tmp_path / "val.csv", many)
    (tmp_path / "val.csv.notes.safetensors").touch()
    write_predictions(tmp_path / "val.csv", many.rows(range(20)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["val.csv", "val.csv.notes.safetensors"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: None,
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda _: b"no tensors",
        lambda content: content.replace(b'format\\": 1', b'format\\": 2'),
        lambda _: save({"top": np.zeros(3)}, metadata={"ftcli": "[]"}),
        lambda _: save({"top": np.zeros(3)}, metadata={"ftcli": '{"format": 1, "classes": ["a"], "crc32": ""}'}),
    ],
)
def test_a_damaged_file_of_probabilities_is_refused_by_name(tmp_path, many, damage):
    write_predictions(tmp_path / "val.csv", many)
    (beside,) = (path for path in tmp_path.iterdir() if path.name != "val.csv")
    content = damage(beside.read_bytes())
    if content is None:
        beside.unlink()
    else:
        beside.write_bytes(content)
    with pytest.raises(RunDirectoryError) as caught:
        read_predictions(tmp_path / "val.csv")
    assert caught.value.where == str(beside)
    assert caught.value.hint


def test_an_edited_csv_no_longer_has_its_probabilities(tmp_path, many):
    path = tmp_path / "val.csv"
    write_predictions(path, many)
    path.write_text(path.read_text().replace("val/0.jpg", "val/1000.jpg"))
    with pytest.raises(RunDirectoryError):
        read_predictions(path)


def test_many_probabilities_are_kept_for_a_resume_in_single_precision(many):
    kept = as_kept(many.probabilities)
    assert np.array_equal(kept, kept.astype(np.float32))
    assert kept == pytest.approx(many.probabilities, rel=1e-6)
    assert np.array_equal(as_kept(many.probabilities[:10]), many.probabilities[:10])
