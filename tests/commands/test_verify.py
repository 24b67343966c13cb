"""An exported model on another machine: unchanged, and doing what it did."""

from pathlib import Path

import pytest
from helpers.support import Ftcli


def test_verify_passes_what_was_exported(ftcli: Ftcli, exported: Path) -> None:
    for path in (exported, exported / "model.onnx"):
        result = ftcli("verify", path, "--json").json
        assert result["problems"] == []
        assert result["largest_difference"] < 1e-6


@pytest.mark.parametrize("file", ["model.onnx", "classify.py", "golden/3.png"])
def test_verify_names_a_file_that_was_changed(ftcli: Ftcli, exported: Path, file: str) -> None:
    content = bytearray((exported / file).read_bytes())
    content[len(content) // 2] ^= 1
    (exported / file).write_bytes(content)
    assert f"{file}: checksum mismatch" in ftcli("verify", exported, code=4).err
    (exported / file).unlink()
    err = ftcli("verify", exported, "--json", code=4)
    assert err.json["problems"] == [f"{file}: is missing"]


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_what_is_no_export_is_refused(ftcli: Ftcli, path: str) -> None:
    assert "is not an exported model" in ftcli("verify", path, code=2).err
