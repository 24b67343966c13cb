import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ftcli.data.inspection import ImageFacts
from ftcli.errors import RunDirectoryError
from ftcli.runs.dataset_file import hash_lines, read_train_hashes, trained_by
from ftcli.runs.directory import RunDirectory


def written(contents: Mapping[str, bytes]) -> list[ImageFacts]:
    for name, content in contents.items():
        Path(name).write_bytes(content)
    hashes = [(name, hashlib.sha256(content).hexdigest()) for name, content in contents.items()]
    return [ImageFacts(name, sha256, width=1, height=1, mode="RGB", format="PNG") for name, sha256 in hashes]


def test_sha256sum_checks_the_list_of_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a.png", "two  words.png", " b\\n.png", "c\n.png", "d\r.png", "e\x85.png", os.fsdecode(b"\xff.png")]
    facts = written({name: str(number).encode() for number, name in enumerate(names)})
    run, lines = RunDirectory(tmp_path), hash_lines((fact.sha256, fact.name) for fact in facts)
    run.train_images.write_text(lines, "utf-8", "surrogateescape", newline="")
    assert read_train_hashes(run) == {fact.sha256 for fact in facts}
    command = ["sha256sum", "--check", "--strict", "--quiet", run.train_images.name]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C"})
    assert trained_by(tmp_path).images == {fact.sha256: fact.name for fact in facts}
    Path(names[3]).write_bytes(b"another")
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("damage", ["", "\n", "0" * 64 + "  a.png", "0" * 63 + "  a.png\n", "0" * 64 + "\n", "{}\n"])
def test_a_damaged_list_is_named(tmp_path: Path, damage: str) -> None:
    run = RunDirectory(tmp_path)
    run.train_images.write_text(damage)
    with pytest.raises(RunDirectoryError, match="sha256sum") as caught:
        read_train_hashes(run)
    assert caught.value.where == str(run.train_images)
