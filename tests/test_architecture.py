import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import ftcli
from ftcli.cli.app import app

PACKAGE = Path(ftcli.__file__).parent
TESTS = Path(__file__).parent
SCRIPT = PACKAGE / "report/standalone.py"  # travels with exported models, and is never imported
MODULES = sorted({*PACKAGE.rglob("*.py")} - {SCRIPT})
TIERS = (
    {"__init__", "phrases", "interrupt"},
    {"errors", "rng"},
    {"metrics", "records"},
    {"plan", "recipe"},
    {"strategies"},
    {"data", "model"},
    {"cache"},
    {"evaluation"},
    {"engine"},
    {"runs"},
    {"tracking"},
    {"report"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
TIER_OF = {name: number for number, tier in enumerate(TIERS) for name in tier}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_part_imports_only_lower_parts(path: Path) -> None:
    part = part_of(path)
    for name in imports_of(path):
        pieces = name.split(".")
        if pieces[0] != "ftcli" or len(pieces) < 2 or pieces[1] not in TIER_OF or pieces[1] == part:
            continue
        assert TIER_OF[pieces[1]] < TIER_OF[part], f"{path} imports {name}"


def test_contributing_states_the_same_order() -> None:
    text = (TESTS.parent / "CONTRIBUTING.md").read_text()
    stated = re.findall(r"^    (?:phrases|<).*$", text, re.MULTILINE)
    tiers = [set(tier.replace(",", " ").split()) for tier in "".join(stated).split("<")]
    assert tiers == [tier - {"__init__"} for tier in TIERS[:-1]]


@pytest.mark.parametrize("part", ["report", "evaluation", "cli", "plan", "strategies", "recipe"])
def test_parts_that_must_start_fast_do_not_import_torch(part: str) -> None:
    for path in MODULES:
        if part_of(path) == part:
            assert not {name for name in imports_of(path) if name.split(".")[0] in {"torch", "torchvision", "timm"}}


LIGHT = {"builtin", "class_folders", "dataset", "decoding", "inspection", "val_split", "workers"}


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.parent.name == "checks" or (path.parent.name == "data" and path.stem in LIGHT)],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_reading_and_checking_images_does_not_import_torch(path: Path) -> None:
    assert not {name for name in imports_of(path) if name.split(".")[0] in {"torch", "torchvision", "timm"}}


WORDS = sorted(typer.main.get_command(app).commands)


@pytest.mark.parametrize("word", WORDS)
def test_a_command_has_a_file_of_its_word_in_cli_commands_and_tests(word: str) -> None:
    name = word.replace("-", "_")
    for file in (PACKAGE / f"cli/{name}.py", PACKAGE / f"commands/{name}.py", TESTS / f"commands/test_{name}.py"):
        assert file.is_file(), f"{word}: no {file}"


def test_text_is_shown_under_the_words_of_commands() -> None:
    names = {path.stem for path in (PACKAGE / "report/text").glob("*.py")}
    assert names <= {"__init__", *(word.replace("-", "_") for word in WORDS)}


def calls_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    calls = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


BATCHES = {"data", "whole"}
"""Names of a PhaseData, whose `train(epoch)` yields batches and sets no mode."""


def modes_set(path: Path) -> list[str]:
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    methods = [call for call in calls if isinstance(call, ast.Attribute)]
    setters = [call for call in methods if call.attr in {"requires_grad_", "train", "eval"}]
    return [ast.unparse(call) for call in setters if ast.unparse(call.value) not in BATCHES or call.attr != "train"]


def attributes_set(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_effects_stay_in_their_rooms(path: Path) -> None:
    here = path.relative_to(PACKAGE).as_posix()
    calls = calls_of(path)
    # The trace runs a stand-in of the network, on the meta device, whose modes it watches.
    if here not in {"model/freezing.py", "model/prefix/trace.py"}:
        assert not modes_set(path), "only model/freezing.py freezes"
        assert "training" not in attributes_set(path), "only model/freezing.py sets modes"
    assert not calls & {"extractall", "unpack_archive"}, "no archive is unpacked, so no path in one can escape"
    if here not in {"cli/app.py", "cli/output.py"}:
        assert "print" not in calls or part_of(path) == "report", "only report/ and the boundary in cli/ show"
    if part_of(path) not in {"runs", "data", "cache"} and here != "model/export.py":
        writing = {"write_bytes", "write_text", "mkdtemp", "rmtree", "unlink", "save_file", "fsync"}
        allowed = {"write_text", "write_bytes"} if part_of(path) == "commands" else set()  # runs/files.py has both
        assert not calls & (writing - allowed), "only runs/, data/, cache/ and exporters touch files"


def modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys\nfrom ftcli.cli import main\n"
        f"sys.argv = ['ftcli', *{list(arguments)!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(['MODULES', *sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES\n")[2].split("\n"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("train", "--help"),
        ("train", "missing.yaml"),
        ("compare", "missing-a", "missing-b"),
        ("schema",),
        ("check", "digits"),
    ],
    ids=" ".join,
)
def test_light_commands_do_not_import_torch(arguments: tuple[str, ...]) -> None:
    assert not modules_after(*arguments) & {"torch", "torchvision", "timm"}


def test_a_wrong_recipe_does_not_import_torch(tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.yaml"
    recipe.write_text("data: {root: x, batchsize: 1}\n")
    assert "torch" not in modules_after("train", str(recipe))
