"""What the cache of features must never change, through the real command line."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from helpers.same_runs import assert_same_runs
from helpers.support import Ftcli, write_images
from safetensors.torch import load_file

VIEWS = re.compile(r"computing the frozen part once, for (\d+) views")


@pytest.fixture
def recipe(tiny: Path) -> Path:
    path = Path("recipe.yaml")
    path.write_text(
        f"data: {{root: {tiny}, image_size: 32, batch_size: 5, workers: 0, views: 2}}\n"
        "model: {name: squeezenet1_1, weights: none}\n"
        "strategy: {kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}}\nepochs: 3\n"
    )
    return path


def weights_of(run: str) -> dict[str, torch.Tensor]:
    return load_file(Path("runs") / run / "checkpoints" / "last.safetensors")


def computed(err: str) -> list[int]:
    """Return how many views were computed, for train and val of each phase that had to."""
    return [int(number) for number in VIEWS.findall(err)]


def moved_apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of any tensor, relative to its norm, or to 0.1 for a bias that began as zeros."""
    return max(
        float((a[name] - b[name]).norm() / b[name].norm().clamp(min=0.1)) for name in b if b[name].is_floating_point()
    )


@pytest.mark.parametrize(
    "strategy",
    [
        "{kind: feature-extract, lr: 1e-2}",
        "{kind: fine-tune, lr: {head: 1e-2, features.12: 1e-3}}",
        "{kind: gradual, epochs_per_phase: 1, unfreeze: 2}",
    ],
    ids=["feature-extract", "fine-tune", "gradual"],
)
def test_cached_and_uncached_training_agree(ftcli: Ftcli, recipe: Path, strategy: str) -> None:
    for cache in ("auto", "off"):
        ftcli("train", recipe, "--name", cache, f"data.cache={cache}", f"strategy={strategy}")
    assert moved_apart(weights_of("auto"), weights_of("off")) < 1e-3
    cached = [json.loads(line)["cached"] for line in Path("runs/auto/metrics.jsonl").read_text().splitlines()]
    assert cached == [True, True, True]


def test_cached_and_uncached_training_agree_with_real_weights_on_photographs(ftcli: Ftcli, hymenoptera: Path) -> None:
    for split, count in (("train", 12), ("val", 4)):
        for name in ("ants", "bees"):
            target = Path("some") / split / name
            target.mkdir(parents=True)
            for path in sorted((hymenoptera / split / name).glob("*.jpg"))[:count]:
                shutil.copy(path, target)
    recipe = "data: {root: some, image_size: 128, batch_size: 8, views: 2}\nstrategy: {kind: fine-tune}\nepochs: 3\n"
    Path("photos.yaml").write_text(recipe)
    for cache in ("auto", "off"):
        ftcli("train", "photos.yaml", "--name", cache, f"data.cache={cache}")
    assert moved_apart(weights_of("auto"), weights_of("off")) < 1e-3


def test_a_second_run_computes_nothing_and_is_bitwise_the_same(ftcli: Ftcli, recipe: Path) -> None:
    cold = ftcli("train", recipe, "--name", "cold")
    warm = ftcli("train", recipe, "--name", "warm")
    assert computed(cold.err) == [36, 12]
    assert computed(warm.err) == []
    a, b = weights_of("cold"), weights_of("warm")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_another_run_began_to_store_is_completed_to_the_same_bits(
    ftcli: Ftcli, recipe: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(tiny, tmp_path / "images"))
    write_images(root / "train/green", count=15, colour=(70, 180, 90))  # 33: in blocks of 32, one view of one is left
    arguments = ("train", recipe, f"data.root={root}", "strategy={kind: feature-extract}")
    ftcli(*arguments, "--name", "cold")
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "another cache"))
    assert computed(ftcli(*arguments, "--name", "begun", "epochs=1").err) == [33, 12]
    assert computed(ftcli(*arguments, "--name", "completed").err) == [33]
    assert_same_runs(Path("runs/cold"), Path("runs/completed"))


def test_another_head_rate_seed_or_batch_size_starts_at_once(ftcli: Ftcli, recipe: Path) -> None:
    ftcli("train", recipe, "--name", "a", "--quiet")
    start = "model.weights=runs/a/checkpoints/last.safetensors"
    other = ftcli("train", recipe, start, "--name", "c", "strategy.lr.head=1e-4", "seed=7", "data.batch_size=4")
    assert computed(other.err) == []


def test_only_the_views_that_the_epochs_use_are_computed(ftcli: Ftcli, recipe: Path) -> None:
    overrides = ["data.views=8", "strategy={kind: feature-extract}"]
    assert computed(ftcli("train", recipe, "--name", "a", "epochs=1", *overrides).err) == [18, 12]
    assert computed(ftcli("train", recipe, "--name", "b", "epochs=3", *overrides).err) == [36]
    assert computed(ftcli("train", recipe, "--name", "c", "epochs=9", *overrides).err) == [90]


@pytest.mark.parametrize(
    ("override", "views"),
    [
        ("seed=1", [36, 12]),  # other weights, since there are none to load
        ("data.image_size=40", [36, 12]),
        ("data.augment=strong", [36]),
        ("strategy={kind: feature-extract}", [36, 12]),
        ("model.name=squeezenet1_0", [36, 12]),
        ("data.augment=none", [18]),
    ],
)
def test_features_of_other_weights_or_preprocessing_are_never_used(
    ftcli: Ftcli, recipe: Path, override: str, views: list[int]
) -> None:
    ftcli("train", recipe, "--name", "a", "--quiet")
    extra = ["strategy={kind: feature-extract}"] if "1_0" in override else []
    assert computed(ftcli("train", recipe, "--name", "b", override, *extra).err) == views


def test_features_of_a_changed_image_are_never_used(ftcli: Ftcli, recipe: Path, tiny: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(tiny, root)
    ftcli("train", recipe, "--name", "a", f"data.root={root}", "--quiet")
    shutil.copy(root / "train/red/001.png", root / "train/red/000.png")
    assert computed(ftcli("train", recipe, "--name", "b", f"data.root={root}").err) == [], "the content is known"
    shutil.copy(root / "val/red/001.png", root / "train/red/000.png")
    assert computed(ftcli("train", recipe, "--name", "c", f"data.root={root}").err) == [2]


@pytest.mark.parametrize(
    "strategy",
    [
        "{kind: feature-extract, lr: 1e-2}",
        "{kind: feature-extract, solver: lbfgs}",
        "{kind: gradual, epochs_per_phase: 1, unfreeze: 2}",
    ],
    ids=["feature-extract", "lbfgs", "gradual"],
)
def test_without_a_usable_cache_the_result_is_the_same_to_the_last_bit_and_the_reason_is_told(
    ftcli: Ftcli, recipe: Path, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "lbfgs" in strategy:
        recipe.write_text(recipe.read_text().replace("epochs: 3\n", ""))
    train = ("train", recipe, "model.name=timm/test_resnet", f"strategy={strategy}", "--name")
    ftcli(*train, "a")
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "file"))
    err = ftcli(*train, "b").err
    assert err.count("the cache cannot keep them") == 1
    a, b = weights_of("a"), weights_of("b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert Path("runs/a/predictions/val.csv").read_bytes() == Path("runs/b/predictions/val.csv").read_bytes()


def test_fresh_views_are_not_stored_but_validation_is(ftcli: Ftcli, recipe: Path) -> None:
    outcome = ftcli("train", recipe, "--name", "a", "data.views=fresh")
    assert computed(outcome.err) == [12]
    assert not json.loads(Path("runs/a/metrics.jsonl").read_text().splitlines()[0])["cached"]


def test_a_phase_that_trains_everything_stores_nothing(ftcli: Ftcli, recipe: Path) -> None:
    assert computed(ftcli("train", recipe, "--name", "a", "strategy={kind: from-scratch}").err) == []
