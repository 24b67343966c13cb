"""Invalid files, paths and names are refused by name, at once, and leave nothing behind."""

import os
import pickle
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.support import Ftcli

from ftcli.runs.checkpoint import load_checkpoint, save_checkpoint

RECIPE = (
    "data: {{root: {root}, image_size: 32, workers: 0}}\nmodel: {{name: squeezenet1_1, weights: none}}\nepochs: 1\n"
)
LONG = "a" * 300


@pytest.fixture
def recipe(tiny: Path) -> str:
    Path("recipe.yaml").write_text(RECIPE.format(root=tiny))
    return "recipe.yaml"


def large() -> str:
    with Path("large.yaml").open("wb") as file:
        file.truncate(100_000_000)  # a sparse file: it takes no space
    return "large.yaml"


def pipe() -> str:
    os.mkfifo("pipe.yaml")
    return "pipe.yaml"


def binary() -> str:
    Path("binary.yaml").write_bytes(bytes(range(256)))
    return "binary.yaml"


def folder() -> str:
    Path("folder.yaml").mkdir()
    return "folder.yaml"


def loop() -> str:
    Path("loop.yaml").symlink_to("loop.yaml")
    return "loop.yaml"


def laughs() -> str:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    Path("laughs.yaml").write_text("\n".join(levels))
    return "laughs.yaml"


def merged() -> str:
    levels = ["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: *a{n - 1}}}" for n in range(1, 60))]
    Path("merged.yaml").write_text("\n".join(levels))
    return "merged.yaml"


def deep() -> str:
    Path("deep.yaml").write_text("[" * 150_000)
    return "deep.yaml"


def wide() -> str:
    Path("wide.yaml").write_text("".join(f"key{n}: 1\n" for n in range(4000)))
    return "wide.yaml"


@pytest.mark.parametrize("command", ["train", "plan"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: "/dev/zero", "/dev/zero: this is not a file"),
        (pipe, "pipe.yaml: this is not a file"),
        (pipe, "Pipes, - and <(...) are not supported"),
        (lambda: "-", "Pipes, - and <(...) are not supported"),
        (folder, "folder.yaml: this is a folder"),
        (loop, "loop.yaml: cannot read the recipe: "),
        (large, "larger than 200,000 bytes"),
        (binary, "binary.yaml: not a UTF-8 text file"),
        (laughs, "too large for a recipe; do its aliases multiply?"),
        (merged, "too large for a recipe; do its aliases multiply?"),
        (deep, "deep.yaml: not valid YAML: nested too deeply"),
        (wide, "and 3,951 more"),
        (lambda: LONG, f"{LONG}: cannot read the recipe: File name too long"),
        (lambda: "no\x1b[31m\nsuch", "no\\x1b[31m\\nsuch: cannot read the recipe"),
    ],
)
def test_a_path_that_cannot_be_a_recipe_is_refused_at_once_by_name(
    ftcli: Ftcli, command: str, make, words: str
) -> None:
    path = make()
    started = time.process_time()
    outcome = ftcli(command, path, code=2)
    assert time.process_time() - started < 20, "the worst takes one second; read whole, it would take hours"
    assert words in outcome.err
    assert "bug in ftcli" not in outcome.err
    assert not Path("runs").exists()


def test_a_long_wrong_value_is_shortened(ftcli: Ftcli, recipe: str) -> None:
    outcome = ftcli("train", recipe, f"optimizer.kind={'x' * 100_000}", f"seed={'y' * 100_000}", code=2)
    assert len(outcome.err) < 250_000  # the override itself is named
    assert "not 'xxxxxxxx" in outcome.err
    assert "..." in outcome.err


def test_a_recipe_expands_neither_variables_nor_home(ftcli: Ftcli, recipe: str, monkeypatch) -> None:
    monkeypatch.setenv("FTCLI_TEST_SECRET", "hunter2")
    for text in ("$FTCLI_TEST_SECRET", "${FTCLI_TEST_SECRET}", "~/x", "{{ FTCLI_TEST_SECRET }}"):
        outcome = ftcli("train", recipe, f"data.root='{text}'", code=3)
        assert f"{text}: no such folder" in outcome.err
        assert "hunter2" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--name", "a\nb"), 2, "has control characters"),
        (("--name", "a\x1b[2J"), 2, "has control characters"),
        (("--name", ".."), 2, "not a plain directory name"),
        (("--name", ""), 2, "not a plain directory name"),
        (("--name", LONG), 2, "the name has 300 bytes; at most 200 may be"),
        (("--name", os.fsdecode(b"caf\xe9")), 2, "runs/caf\\udce9: is not valid UTF-8"),
        (("--runs", "recipe.yaml"), 2, "recipe.yaml: is not a directory"),
        (("--runs", "recipe.yaml/deeper"), 2, "recipe.yaml: is not a directory"),
        (("--runs", "/dev/null"), 2, "/dev/null: is not a directory"),
        (("--runs", LONG), 2, "the name is too long"),
        (("--runs", "/proc/nope"), 1, "/proc/nope/a: cannot make the run directory: No such file"),
        ((f"data.root={LONG}",), 2, "the name is too long"),
        (("data.root=recipe.yaml",), 3, "this is a file, not a folder"),
        (('data.root="a\\0b"',), 3, "no such folder"),
        ((f"model.weights={LONG}",), 2, "the name is too long"),
        (("model.weights=/dev/zero",), 2, "/dev/zero: no such file"),
        (('model.weights="a\\0b"',), 2, "no such file"),
    ],
    ids=str,
)
def test_impossible_paths_are_named(
    ftcli: Ftcli, recipe: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    if arguments[0] == "--runs" and arguments[1].startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("needs /proc")
    outcome = ftcli("train", recipe, *(() if "--name" in arguments else ("--name", "a")), *arguments, code=code)
    assert words in outcome.err
    assert "bug in ftcli" not in outcome.err
    assert not Path("runs").exists()


def test_a_link_to_a_run_is_read_but_never_replaced(ftcli: Ftcli, recipe: str) -> None:
    ftcli("train", recipe, "--name", "a")
    Path("runs/link").symlink_to("a")
    assert ftcli("eval", "runs/link", "--json").json["images"] == 12
    assert (
        "runs/link: is a link, so it is not overwritten"
        in ftcli("train", recipe, "--name", "link", "--overwrite", code=2).err
    )
    assert Path("runs/a/summary.json").exists()


class Evil:
    """Creates a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("owned"),)


def evil_zip() -> str:
    torch.save({"weight": torch.ones(2), "extra": Evil()}, "evil.pth")
    return "evil.pth"


def evil_legacy() -> str:
    torch.save({"extra": Evil()}, "evil.pt", _use_new_zipfile_serialization=False)
    return "evil.pt"


def evil_plain() -> str:
    Path("evil.bin").write_bytes(pickle.dumps(Evil()))
    return "evil.bin"


def evil_in_disguise() -> str:
    Path("evil.safetensors").write_bytes(pickle.dumps(Evil()))
    return "evil.safetensors"


def bomb() -> str:
    torch.save({"weight": torch.zeros(10_000_000)}, "whole.pth")
    with zipfile.ZipFile("whole.pth") as whole, zipfile.ZipFile("bomb.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert Path("bomb.pth").stat().st_size < 100_000
    return "bomb.pth"


def hidden_bomb() -> str:
    """An archive of a version that Python's zipfile refuses to list, and torch's reader might not."""
    content = bytearray(Path(bomb()).read_bytes())
    start = -1
    while (start := content.find(b"PK\x01\x02", start + 1)) >= 0:
        content[start + 6] = 99
    Path("hidden.pth").write_bytes(content)
    return "hidden.pth"


OBJECTS = "not a weights file, or one with Python objects other than tensors, which ftcli does not run"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (evil_zip, OBJECTS),
        (evil_legacy, OBJECTS),
        (evil_plain, OBJECTS),
        (evil_in_disguise, "not a safetensors file"),
        (bomb, "the file is compressed"),
        (hidden_bomb, "not a weights file (zip file version 9.9)"),
    ],
)
def test_weights_run_no_code_and_do_not_grow(ftcli: Ftcli, recipe: str, make, words: str) -> None:
    path = make()
    for arguments, why in (
        (("train", recipe, f"model.weights={path}"), words),
        (("eval", path), "is not a checkpoint of ftcli"),
    ):
        outcome = ftcli(*arguments, code=2)
        assert path in outcome.err
        assert why in outcome.err
        assert "bug in ftcli" not in outcome.err
        assert not Path("owned").exists()


def test_the_malicious_file_really_runs_code_if_it_is_trusted() -> None:
    """Otherwise the test above would prove nothing."""
    torch.load(evil_zip(), weights_only=False)
    assert Path("owned").exists()


BIAS = "classifier.1.bias"
FORGED_TENSORS: dict[str, tuple[torch.Tensor | None, str]] = {
    "no number": (torch.tensor([float("nan"), 0.0]), "gives no finite probabilities for 12 of 12 images"),
    "infinite": (torch.tensor([float("inf"), 0.0]), "gives no finite probabilities for 12 of 12 images"),
    "too many": (
        torch.zeros(3),
        f"forged.safetensors: 1 of 52 tensors have another shape: {BIAS} (3,) instead of (2,)",
    ),
    "none": (None, f"forged.safetensors: 1 of 52 tensors are missing: {BIAS}"),
    "integers": (torch.zeros(2, dtype=torch.int64), f"1 of 52 tensors are not floating-point numbers: {BIAS} int64"),
}
FORGED_WORDS: dict[str, tuple[dict[str, object], str]] = {
    "a model from elsewhere": (
        {"model": "timm/hf-hub:evil/model"},
        "forged.safetensors: unknown model 'timm/hf-hub:",
    ),
    "a folder as a model": ({"model": "timm/local-dir:."}, "forged.safetensors: unknown model 'timm/local-dir:.'"),
    "an unknown key": ({"recipe": {"data": {"root": "x"}, "evil": 1}}, "forged.safetensors: evil: unknown key"),
}


def test_forged_checkpoints_are_refused_by_name(ftcli: Ftcli, recipe: str, tiny: Path) -> None:
    """Their checksums are right."""
    ftcli("train", recipe, "--name", "a")
    whole = load_checkpoint(Path("runs/a"))
    forgeries = [
        (
            {name: held for name, held in {**whole.state_dict, BIAS: tensor}.items() if held is not None},
            whole.info,
            words,
        )
        for tensor, words in FORGED_TENSORS.values()
    ]
    forgeries += [(whole.state_dict, replace(whole.info, **said), words) for said, words in FORGED_WORDS.values()]
    for tensors, info, words in forgeries:
        save_checkpoint(Path("forged.safetensors"), tensors, info)
        outcome = ftcli("eval", "forged.safetensors", "--data", tiny / "val", code=2)
        assert words in outcome.err
        assert "bug in ftcli" not in outcome.err
