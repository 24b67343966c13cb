import base64
import hashlib
import io
from pathlib import Path

from PIL import Image

from ftcli.report.charts.thumbnails import SIDE, thumbnails


def test_a_thumbnail_is_small_and_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (1200, 800), "white")
    photo.paste("red", (0, 0, 600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file's left is the picture's top
    photo.save(tmp_path / "photo.jpg", exif=exif)
    sha256 = hashlib.sha256((tmp_path / "photo.jpg").read_bytes()).hexdigest()
    (thumbnail,) = thumbnails(tmp_path, [("photo.jpg", sha256)])
    assert (thumbnail.width, thumbnail.height) == (SIDE * 2 // 3, SIDE)
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2]))) as picture:
        top, bottom = (picture.convert("RGB").getpixel((90, y)) for y in (20, 270))
    assert top[1] < 100 < bottom[1]  # type: ignore[index]
