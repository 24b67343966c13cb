import base64
import hashlib
import io
import itertools
import re
from pathlib import Path

import pytest
from helpers.pages import Outline, comparison_of, page_of
from PIL import Image

from ftcli.report.html.page import THUMBNAIL, thumbnails

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "\u202egnp\x1b[31m", "&amp;")


@pytest.mark.parametrize("kind", ["run", "two runs", "several runs"])
def test_names_and_recipes_from_strangers_are_inert(make_run, kind):
    hostile = {"classes": HOSTILE, "wrong": 20, "recipe": {"note": "</code></pre><script>alert(3)</script>"}}
    runs = [make_run(f"<u>{i}", **{**hostile, "wrong": 20 - i}, phases=i + 1) for i in range(3)]
    page = {"run": lambda: page_of(runs[0]), "two runs": lambda: comparison_of(*runs[:2])}.get(
        kind, lambda: comparison_of(*runs)
    )()
    outline = Outline(page)
    assert len(outline.all("script")) == 1
    assert not outline.all("u")
    assert all(each.get("src", "").startswith("data:image/") for each in outline.all("img"))
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "\u202e" not in page
    assert "\x1b" not in page
    if kind != "several runs":
        assert {*HOSTILE[:3], "&amp;", "\\u202egnp\\x1b[31m"} <= set(outline.pieces)


def test_a_page_loads_nothing_and_its_policy_forbids_it(make_run):
    outline = Outline(page_of(make_run()))
    assert not [each for tag in ("link", "iframe", "object", "base") for each in outline.all(tag)]
    assert all(each["href"].startswith("#") for each in outline.all("a"))
    (policy,) = (each["content"] for each in outline.all("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-")
    assert "unsafe" not in policy


@pytest.mark.parametrize("kind", ["run", "two runs", "several runs"])
def test_tables_have_captions_and_scopes_and_pictures_have_words(make_run, kind):
    runs = [make_run(str(i), wrong=5 + i) for i in range(3)]
    outline = Outline(page_of(runs[0]) if kind == "run" else comparison_of(*runs[: 2 if kind == "two runs" else 3]))
    assert len(outline.all("table")) == len(outline.all("caption"))
    assert all(each.get("scope") in {"row", "col"} for each in outline.all("th"))
    assert all(each.get("alt") for each in outline.all("img"))
    assert all(each.get("aria-label") or each.get("aria-hidden") for each in outline.all("svg"))
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(deeper <= level + 1 for level, deeper in itertools.pairwise(levels))
    assert levels.count(1) == 1
    ids = [each["id"] for _, each in outline.tags if "id" in each]
    assert len(ids) == len(set(ids))
    assert {each["aria-labelledby"] for each in outline.all("section")} <= set(ids)


def test_a_thumbnail_is_small_and_upright(tmp_path: Path) -> None:
    photo = Image.new("RGB", (1200, 800), "white")
    photo.paste("red", (0, 0, 600, 800))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the file's left is the picture's top
    photo.save(tmp_path / "photo.jpg", exif=exif)
    sha256 = hashlib.sha256((tmp_path / "photo.jpg").read_bytes()).hexdigest()
    (thumbnail,) = thumbnails(tmp_path, [("photo.jpg", sha256)])
    assert (thumbnail.width, thumbnail.height) == (THUMBNAIL * 2 // 3, THUMBNAIL)
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2]))) as picture:
        top, bottom = (picture.convert("RGB").getpixel((90, y)) for y in (20, 270))
    assert top[1] < 100 < bottom[1]  # type: ignore[index]
