from pathlib import Path

import pytest

from ftcli.data.sort_into import Placing, place
from ftcli.errors import ImageError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photos/1.jpg"
    path.parent.mkdir()
    path.write_bytes(b"new")
    return path


@pytest.mark.parametrize("how", list(Placing))
def test_a_file_that_is_there_is_never_overwritten(image: Path, tmp_path: Path, how: Placing) -> None:
    there = tmp_path / "ants/1.jpg"
    there.parent.mkdir()
    there.write_bytes(b"old")
    placed = place(image, tmp_path / "ants", "1.jpg", sha256="0123456789abcdef", how=how)
    assert placed.name == "1-01234567.jpg"
    assert (there.read_bytes(), placed.read_bytes()) == (b"old", b"new")


@pytest.mark.parametrize("how", list(Placing))
def test_the_same_image_is_placed_once(image: Path, tmp_path: Path, how: Placing) -> None:
    for _ in range(2):
        image.write_bytes(b"new")
        assert place(image, tmp_path / "ants", "a/1.jpg", sha256="0" * 64, how=how) == tmp_path / "ants/a/1.jpg"
    assert [path.name for path in (tmp_path / "ants").rglob("*")] == ["a", "1.jpg"]
    assert image.exists() == (how is not Placing.MOVE)


def test_a_moved_image_survives_a_folder_that_cannot_be_written(image: Path, tmp_path: Path) -> None:
    (tmp_path / "ants").write_bytes(b"a file")
    with pytest.raises(ImageError) as raised:
        place(image, tmp_path / "ants", "1.jpg", sha256="0" * 64, how=Placing.MOVE)
    assert raised.value.where == str(image)
    assert image.read_bytes() == b"new"


def test_an_image_moves_to_another_disk(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    assert place(image, tmp_path / "ants", "1.jpg", sha256="0" * 64, how=Placing.MOVE).read_bytes() == b"new"
    assert not image.exists()
