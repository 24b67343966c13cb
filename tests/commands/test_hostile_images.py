"""Bad files in `check` and `train`: each is named, with its reason, before anything is trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hostile import BAD, NO_FILES, write_hostile
from helpers.support import Ftcli, files_of, findings_of


def test_every_hostile_file_is_named_with_its_reason(ftcli: Ftcli, root: Path) -> None:
    bad = write_hostile(root / "train/bees")
    outcome = ftcli("check", root, "--json", code=3)
    (finding,) = findings_of(outcome)["bad-image"]
    assert finding["level"] == "error"
    reasons = {case["files"][0].removeprefix("train/bees/"): case["note"] for case in finding["cases"]}
    assert set(reasons) == set(bad)
    for name, (_, words) in (BAD | NO_FILES).items():
        assert words in reasons[name]
    assert "Convert it to JPEG" in finding["advice"]


def test_odd_files_that_can_be_used_have_findings_of_their_own(ftcli: Ftcli, root: Path) -> None:
    write_hostile(root / "train/bees")
    found = findings_of(ftcli("check", root, "--json", code=3))
    expected = {
        "one-colour": {"one_pixel.png", "white.png"},
        "extreme-size": {"one_pixel.png", "strip.png"},
        "several-frames": {"animation.png", "pages.tif"},
        "other-format": {"really_a_png.jpg", "animation.png"},
        "unread-format": {"animation.gif", "IMG_0001.HEIC"},
    }
    for code, names in expected.items():
        assert {Path(name).name for case in files_of(found[code][0]) for name in case} == names, code
    assert "heif-convert" in found["unread-format"][0]["advice"]
    assert "leak" not in found, "a link to a folder above is not followed"


def test_train_names_the_same_bad_files_and_trains_on_the_rest(ftcli: Ftcli, root: Path) -> None:
    bad = write_hostile(root / "train/bees")
    recipe = Path("recipe.yaml")
    recipe.write_text(
        f"data: {{root: {root}, image_size: 32, workers: 0}}\nmodel: {{name: timm/test_resnet, weights: none}}\n"
        "epochs: 1\n"
    )
    err = ftcli("train", recipe, code=3).err
    for name in bad:
        assert f"train/bees/{name}: " in err
    assert not Path("runs").exists()
    ftcli("train", recipe, "--name", "a", "data.on_bad_image=skip")
    dataset = json.loads(Path("runs/a/dataset.json").read_text())
    assert {image["path"] for image in dataset["skipped"]} == {f"train/bees/{name}" for name in bad}
    assert dataset["splits"]["train"]["images"] == 24 + 11


def test_names_that_are_not_utf8_are_shown_and_written_safely(ftcli: Ftcli, root: Path) -> None:
    broken = Path(os.fsdecode(os.fsencode(root / "train/bees") + b"/caf\xe9\n.png"))
    broken.write_bytes(b"")
    outcome = ftcli("check", root, code=3)
    assert "caf\\udce9\\n.png: the file is empty" in outcome.out
    assert files_of(findings_of(ftcli("check", root, "--json", code=3))["bad-image"][0]) == [
        ["train/bees/caf\udce9\n.png"]
    ]


MORTAL = ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Permissions do not stop root, who runs many a test, unless these powers are taken from him."""


@pytest.mark.skipif(MORTAL and subprocess.run([*MORTAL, "true"], check=False).returncode, reason="root stays almighty")
@pytest.mark.parametrize(
    ("forbidden", "mode", "code", "words"),
    [
        ("val/bees/03.png", 0, "bad-image", "the file cannot be read (Permission denied)"),
        ("val/bees", 0, "layout", "val/bees: the folder cannot be read: Permission denied"),
        ("train", 0o644, "layout", "train/ants: the folder cannot be read: Permission denied"),
        (".", 0o644, "layout", "train: the folder cannot be read: Permission denied"),
        (".", 0, "layout", "the folder cannot be read: Permission denied"),
        ("..", 0, None, "the folder cannot be read: Permission denied"),
    ],
)
def test_what_may_not_be_read_is_named(root: Path, forbidden: str, mode: int, code: str | None, words: str) -> None:
    call = [*MORTAL, sys.executable, "-m", "ftcli", "check", root, "--json"]
    (root / forbidden).chmod(mode)
    outcome = subprocess.run(call, capture_output=True, text=True, check=False)
    (root / forbidden).chmod(0o755)
    assert outcome.returncode == 3
    if code is None:
        assert words in json.loads(outcome.stderr)["error"]["message"]
    else:
        (finding,) = (each for each in json.loads(outcome.stdout)["findings"] if each["level"] == "error")
        assert finding["code"] == code
        assert words in (finding["cases"][0]["note"] if finding["cases"] else finding["message"])


def test_every_file_that_may_not_be_read_is_named(ftcli: Ftcli, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "03.png" and path.parent.parent.name == "val":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    found = findings_of(ftcli("check", root, "--json", code=3))
    assert [case["note"] for case in found["bad-image"][0]["cases"]] == [
        "the file cannot be read (Permission denied)"
    ] * 2
