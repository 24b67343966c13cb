"""A model in the files of another runtime: proved before it is kept, and used without ftcli.

Every export has a process of its own: torch cannot train safely in one that has exported, nor in its children.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from helpers.launch import Launch
from PIL import Image

from ftcli.commands.target import Target
from ftcli.engine.inference import Scorer, exported_scorer
from ftcli.runs.predictions_file import read_predictions


def test_the_file_gives_the_labels_of_the_run(launch: Launch, trained: Path, tiny: Path) -> None:
    own = launch("predict", trained, tiny / "val", "--probabilities").out
    of_file = launch("predict", trained / "export/onnx/model.onnx", tiny / "val", "--probabilities").out
    rows = [[line.split(",") for line in text.splitlines()[1:]] for text in (own, of_file)]
    assert [row[:3] for row in rows[0]] == [row[:3] for row in rows[1]]
    values = [np.array([row[3:] for row in each], dtype=float) for each in rows]
    assert np.abs(values[0] - values[1]).max() < 1e-4


def test_eval_of_the_file_gives_the_figures_of_the_run(launch: Launch, trained: Path) -> None:
    own = launch("eval", trained, "--json").json
    of_file = launch("eval", trained / "export/onnx", "--json").json
    assert of_file["confusion"] == own["confusion"]
    assert of_file["seen"] == own["seen"] == {"trained_on": 0, "chose_epoch": 12}
    assert of_file["unfinished"] == []
    assert of_file["metrics"]["log_loss"]["value"] == pytest.approx(own["metrics"]["log_loss"]["value"], abs=1e-4)


def test_the_file_is_one_more_column_of_compare(launch: Launch, trained: Path) -> None:
    file = trained / "export/onnx/model.onnx"
    found = launch("compare", trained, file, "--fail-if", "not-equivalent:0.9", "--json").json
    assert found["runs"] == [str(trained), str(file)]
    assert found["metrics"]["accuracy"]["difference"] == 0
    assert found["recipe_changes"] == {"export": {"a": None, "b": "onnx"}}
    assert [gate["holds"] for gate in found["gates"]] == [True]
    assert not found["unfinished"]


def test_the_description_is_in_the_file_and_beside_it(trained: Path) -> None:
    described = json.loads((trained / "export/onnx/export.json").read_text())
    model = onnx.load(trained / "export/onnx/model.onnx")
    props = {each.key: each.value for each in model.metadata_props}
    inside = json.loads(props["ftcli"])
    for key in ("classes", "preprocessing", "model", "metrics", "recipe", "checkpoint_sha256"):
        assert inside[key] == described[key]
    assert described["classes"] == ["blue", "red"]
    assert described["metrics"]["accuracy"]["low"] <= described["metrics"]["accuracy"]["value"]
    assert described["verification"]["images"] == described["verification"]["equal_labels"] == 12
    assert described["verification"]["largest_difference"] < 1e-4
    assert props["Image.NominalPixelRange"] == "NominalRange_0_255"
    assert (model.opset_import[0].version, model.ir_version) <= (18, 10)
    assert not list((trained / "export/onnx").glob("*.data"))


@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_batches_have_any_size(trained: Path, size: int) -> None:
    session = onnxruntime.InferenceSession(trained / "export/onnx/model.onnx")
    images = np.random.default_rng(size).integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
    probabilities, logits = session.run(["probabilities", "logits"], {"images": images})
    assert probabilities.shape == logits.shape == (size, 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(size), abs=1e-5)


def without(*packages: str, script: str, folder: Path, images: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script where these packages cannot be imported."""
    blocked = folder / "blocked"
    for name in packages:
        (blocked / name).mkdir(parents=True, exist_ok=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('this machine has no such package')")
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    command = [sys.executable, script, *map(str, images)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


def test_the_script_beside_the_file_classifies_as_the_run_does(trained: Path, exported: Path, tiny: Path) -> None:
    scored = read_predictions(trained / "predictions/val.csv")
    images = [tiny / path for path in scored.paths]
    done = without("ftcli", "torch", script="classify.py", images=images, folder=exported)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [scored.classes[row] for row in scored.predicted]
    checked = without("ftcli", "torch", script="classify.py", folder=exported)
    assert (checked.returncode, checked.stdout) == (0, "8 of 8 golden images come out as they should\n")


def test_every_golden_image_is_one_of_val(exported: Path, tiny: Path) -> None:
    of_val = {path.read_bytes() for path in (tiny / "val").rglob("*.png")}
    golden = [path.read_bytes() for path in (exported / "golden").iterdir()]
    assert len(golden) == 8
    assert set(golden) <= of_val


def test_private_images_stay_at_home(launch: Launch, trained: Path, tiny: Path) -> None:
    launch("export", trained, "-o", "out", "--golden", "synthetic", "--input", "float")
    of_val = {path.read_bytes() for path in (tiny / "val").rglob("*.png")}
    assert of_val.isdisjoint(path.read_bytes() for path in Path("out/golden").iterdir())
    assert launch("verify", "out", "--json").json["golden"] == 8
    assert json.loads(Path("out/export.json").read_text())["input"] == "float"
    done = without("ftcli", "torch", script="classify.py", folder=Path("out").absolute())
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_script_notices_a_swapped_model(launch: Launch, exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    weights = next(each for each in model.graph.initializer if len(each.dims) == 2)
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), weights.name))
    onnx.save(model, exported / "model.onnx")
    done = without("ftcli", "torch", script="classify.py", folder=exported)
    assert done.returncode == 1
    assert "model.onnx" in launch("verify", exported, code=4).err


@pytest.mark.parametrize(
    "options",
    [("--int8",), ("--max-drop", "0.1"), ("--format", "timm", "--input", "float"), ("--format", "tflite")],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_refused(launch: Launch, trained: Path, options: tuple[str, ...]) -> None:
    assert options[-2 if len(options) > 1 else -1] in launch("export", trained, *options, "-o", "out", code=2).err
    assert not Path("out").exists()


@pytest.mark.parametrize("form", ["openvino", "timm"])
def test_other_formats_give_the_labels_of_the_run_without_ftcli(
    launch: Launch, trained: Path, tiny: Path, form: str
) -> None:
    launch("export", trained, "--format", form, "-o", "out")
    assert launch("verify", "out", "--json").json["problems"] == []
    scored = read_predictions(trained / "predictions/val.csv")
    wanted = [scored.classes[row] for row in scored.predicted]
    own = launch("predict", "out", tiny / "val").out.splitlines()[1:]
    assert [line.split(",")[2] for line in own] == wanted
    blocked = ("ftcli",) if form == "timm" else ("ftcli", "torch")
    done = without(
        *blocked, script="classify.py", images=[tiny / path for path in scored.paths], folder=Path("out").absolute()
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == wanted, done.stderr


def test_int8_says_what_it_costs_and_is_refused_above_a_limit(
    launch: Launch, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("export", trained, "--format", "openvino", "--int8", "--golden", "synthetic", "-o", "out")
    found = launch(*command, "--json").json["int8"]
    assert found["calibrated_on"] == 18
    assert found["accuracy"]["low"] <= found["accuracy"]["difference"] <= found["accuracy"]["high"]
    assert found["worst_class"] in {"blue", "red"}
    assert launch("verify", "out", "--json").json["problems"] == []
    shutil.rmtree("out")
    opened: list[Path] = []

    def worse_the_second_time(target: Target, form: str, file: Path) -> Scorer:
        opened.append(file)
        right = exported_scorer(file, form, target.classes, target.spec, batch_size=4)
        return right if len(opened) == 1 else turned(right)

    monkeypatch.setattr("ftcli.model.export.quantize_openvino", lambda *_: None)
    monkeypatch.setattr("ftcli.commands.export.written_scorer", worse_the_second_time)
    assert "more than 0.1 worse" in launch(*command, "--max-drop", "0.1", code=4).err
    assert not Path("out").exists()


def turned(right: Scorer) -> Scorer:
    """Return a scorer that exchanges the probabilities of two classes."""
    return replace(right, score=lambda batches: (rows[:, ::-1] for rows in right.score(batches)))


def test_timm_and_its_own_preprocessing_take_the_directory_as_it_is(launch: Launch, trained: Path, tiny: Path) -> None:
    launch("export", trained, "--format", "timm", "-o", "out")
    network = timm.create_model("local-dir:out", pretrained=True).eval()
    assert network.pretrained_cfg["label_names"] == ["blue", "red"]
    transform = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=network.pretrained_cfg))
    scored = read_predictions(trained / "predictions/val.csv")
    with torch.inference_mode():
        images = torch.stack([transform(Image.open(tiny / path).convert("RGB")) for path in scored.paths])
        assert network(images).argmax(dim=1).tolist() == scored.predicted.tolist()


def test_a_network_that_timm_lacks_is_refused(launch: Launch, tiny: Path) -> None:
    Path("recipe.yaml").write_text(
        f"data: {{root: {tiny}, image_size: 32, workers: 0, views: 1}}\n"
        "model: {name: squeezenet1_1, weights: none}\nepochs: 1\nreport: false\n"
    )
    launch("train", "recipe.yaml", "--name", "a")
    assert "squeezenet1_1" in launch("export", "runs/a", "--format", "timm", code=2).err
    assert not any(Path("runs/a/export").iterdir())


def test_a_file_that_gives_other_labels_is_not_kept(
    launch: Launch, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(target: Target, form: str, file: Path) -> Scorer:
        return turned(exported_scorer(file, form, target.classes, target.spec, batch_size=4))

    monkeypatch.setattr("ftcli.commands.export.written_scorer", wrong)
    err = launch("export", trained, "-o", "out", code=4).err
    assert "of 12 val images" in err
    assert not list(Path().iterdir())


def test_a_network_that_cannot_be_exported_leaves_nothing(
    launch: Launch, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("an operator is missing\nwith details")

    monkeypatch.setattr("torch.onnx.export", fails)
    err = launch("export", trained, "-o", "out", code=2).err
    assert "timm/test_resnet cannot be exported to ONNX: an operator is missing" in err
    assert not list(Path().iterdir())


def test_a_missing_extra_is_named_before_anything_is_loaded(
    launch: Launch, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    usual = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else usual(name))
    err = launch("export", trained, code=2).err
    assert "onnxscript" in err
    assert "pip install 'ftcli[onnx]'" in err


def test_what_is_no_export_is_never_replaced(launch: Launch, trained: Path) -> None:
    Path("out").mkdir()
    Path("out/thesis.txt").write_text("years of work")
    assert "is not an export" in launch("export", trained, "-o", "out", code=2).err
    assert Path("out/thesis.txt").read_text() == "years of work"
    shutil.copy(trained / "checkpoints/best.safetensors", "copy.safetensors")
    assert "--output" in launch("export", "copy.safetensors", code=2).err
    assert "exported model already" in launch("export", trained / "export/onnx", code=2).err


def test_the_card_has_the_figures_of_the_run(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    described = json.loads((exported / "export.json").read_text())
    accuracy = described["metrics"]["accuracy"]["value"]
    assert card.startswith("---\nlibrary_name: onnx\n")
    assert f"| accuracy | {100 * accuracy:.1f} %" in card
    assert "Not stated." in card
