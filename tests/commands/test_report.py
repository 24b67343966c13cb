import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.support import Ftcli, MakeRun
from PIL import Image

from ftcli.errors import FtcliError
from ftcli.report.html import run as html_run

RECIPE = """
data: {{root: {root}, image_size: 32, batch_size: 5, workers: 0}}
model: {{name: timm/test_resnet, weights: none}}
strategy: {{kind: gradual, epochs_per_phase: 1, unfreeze: 1}}
epochs: 2
"""


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(RECIPE.format(root=tiny))
    return path


def test_train_leaves_a_page_that_report_makes_again(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a")
    page = Path("runs/a/report.html")
    first = page.read_text()
    page.unlink()
    assert ftcli("report", "runs/a").out == f"{page}\n"
    assert page.read_text() == first


def test_a_page_holds_the_roc_auc_that_eval_prints(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a")
    found = ftcli("eval", "runs/a", "--json").json
    page = Path("runs/a/report.html").read_text()
    for name, words in (("roc_auc", "ROC-AUC"), ("average_precision", "average precision")):
        value, low, high = (f"{found['metrics'][name][end]:.3f}" for end in ("value", "low", "high"))
        cell = '<td class="number">'
        assert f'<th scope="row">{words}</th>{cell}{value}</td>{cell}{low} to {high}</td>' in page
    assert all(f">{row['roc_auc']:.3f}</td>" in page.partition('id="classes"')[2] for row in found["per_class"])


def test_a_page_leaves_what_takes_long_to_eval_and_says_so(
    ftcli: Ftcli, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("ftcli.evaluation.ranking", "ftcli.report.format"):
        monkeypatch.setattr(f"{module}.QUICK_CELLS", 79)  # 40 images of 2 classes are 80
    run = make_run("a")
    ftcli("report", run)
    page = (run / "report.html").read_text()
    assert "ftcli eval --ranking" in page
    assert page.count("ROC-AUC") == 1


def test_report_false_leaves_no_page(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "report=false", "--name", "a")
    assert Path("runs/a/summary.json").is_file()
    assert not Path("runs/a/report.html").exists()


def test_a_page_that_cannot_be_made_is_a_notice_and_not_a_failure(
    ftcli: Ftcli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise FtcliError("no ink", hint="Fill it.")

    monkeypatch.setattr(html_run, "run_page", fail)
    outcome = ftcli("train", recipe, "--name", "a", "--quiet")
    assert "has no page: no ink; make it with ftcli report runs/a" in outcome.err
    assert outcome.out.splitlines()[-1] == "runs/a"
    assert Path("runs/a/summary.json").is_file()


def test_several_runs_make_a_page_here_or_where_out_says(ftcli: Ftcli, make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b", wrong=2)
    assert ftcli("report", a, b).out == "report.html\n"
    assert "two runs compared" in Path("report.html").read_text()
    outcome = ftcli("report", a, b, "--out", "new/page.html", "--json")
    assert outcome.json == {
        "schema": 1,
        "page": "new/page.html",
        "runs": [str(a), str(b)],
        "pictures": [],
    }
    assert Path("new/page.html").is_file()


def test_no_page_takes_the_place_of_a_file_of_a_run(ftcli: Ftcli, make_run: MakeRun) -> None:
    a = make_run("a")
    for name in ("recipe.yaml", "predictions/val.csv", "checkpoints/page.html"):
        outcome = ftcli("report", a, "--out", a / name, code=2)
        assert f"{a / name}: is a file of the run {a}, which would be overwritten" in outcome.err
    assert ftcli("report", a, "--out", a / "report.html").out == f"{a / 'report.html'}\n"
    assert not (a / "checkpoints/page.html").exists()


def test_curves_come_as_png_files_too(ftcli: Ftcli, make_run: MakeRun) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    outcome = ftcli("report", make_run("a"), make_run("fit", solver="lbfgs", phases=1, epochs=1), "--png", "plots")
    names = ["curves-1.png", "reliability-1.png", "curves-2.png", "reliability-2.png"]
    assert outcome.out.splitlines() == [*(f"plots/{name}" for name in names), "report.html"]
    for name in names:
        with Image.open(f"plots/{name}") as picture:
            assert picture.format == "PNG"
            assert len(set(picture.convert("L").tobytes())) > 2, "something is drawn"


def test_without_matplotlib_png_files_name_the_extra_and_nothing_is_written(
    ftcli: Ftcli, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    outcome = ftcli("report", make_run("a"), "--out", "page.html", "--png", "plots", code=2)
    assert "pip install 'ftcli[plots]'" in outcome.err
    assert not Path("page.html").exists()


def test_a_directory_of_seeds_gets_a_page_of_all_of_them(ftcli: Ftcli, make_run: MakeRun, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run(f"seed-{seed}", wrong=5 + seed, recipe={"seed": seed})
    (tmp_path / "seeds.json").write_text('{"schema": 1, "seeds": [0, 1]}')
    assert ftcli("report", tmp_path, "--json").json["runs"] == [str(tmp_path / f"seed-{seed}") for seed in (0, 1)]
    assert "seed-0 and seed-1" in (tmp_path / "report.html").read_text()


def test_a_directory_of_seeds_without_any_run_says_so(ftcli: Ftcli, tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text('{"schema": 1, "seeds": [0, 1]}')
    err = ftcli("report", tmp_path, code=2).err
    assert f"{tmp_path}: no seed has finished an epoch yet\nResume with: ftcli resume {tmp_path}" in err


def test_a_page_names_the_seeds_that_have_no_figures_yet(ftcli: Ftcli, make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "seeds.json").write_text('{"schema": 1, "seeds": [0, 1, 2]}')
    make_run("seed-0", recipe={"seed": 0})
    ftcli("report", tmp_path)
    of_one = (tmp_path / "report.html").read_text()
    assert f"<p>{tmp_path}/seed-1, {tmp_path}/seed-2 have no figures yet and are left out. Resume with: " in of_one
    make_run("seed-2", recipe={"seed": 2})
    ftcli("report", tmp_path)
    of_two = (tmp_path / "report.html").read_text()
    told = f"{tmp_path}/seed-1 has no figures yet and is left out. Resume with: ftcli resume {tmp_path}"
    assert f"<p>{told}</p>" in of_two


def test_a_run_that_is_none_is_named(ftcli: Ftcli) -> None:
    assert "nowhere: does not exist" in ftcli("report", "nowhere", code=2).err


def test_runs_of_other_classes_cannot_share_a_page(ftcli: Ftcli, make_run: MakeRun) -> None:
    outcome = ftcli("report", make_run("a"), make_run("b", classes=("cats", "dogs")), code=3)
    assert "different classes" in outcome.err


def test_reports_never_import_torch(make_run: MakeRun) -> None:
    code = (
        "import sys\nfrom ftcli.cli import main\n"
        "try:\n    main()\nexcept SystemExit as left:\n    assert not left.code\n"
        "assert not {'torch', 'torchvision', 'timm', 'matplotlib'} & set(sys.modules)"
    )
    arguments = ["report", make_run("a"), make_run("b", wrong=1)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_does_not_wait_for_what_only_pages_need() -> None:
    code = (
        "import sys, ftcli.cli.train, ftcli.commands.train, ftcli.commands.training_run, ftcli.commands.report\n"
        "assert not {'jinja2', 'markupsafe', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
