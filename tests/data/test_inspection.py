from __future__ import annotations

import hashlib

import pytest
from PIL import Image

from ftcli.data.class_folders import Sample
from ftcli.data.dataset import open_dataset
from ftcli.data.inspection import hash_images, inspect_images
from ftcli.errors import ImageError


def test_facts_come_in_order_with_content_hash_size_and_mode(photos):
    samples = photos(5)
    Image.new("L", (7, 9)).save(samples[2].path, "PNG")
    facts = inspect_images(samples, workers=2)
    assert [fact.name for fact in facts] == [sample.name for sample in samples]
    assert [fact.sha256 for fact in facts] == [hashlib.sha256(s.path.read_bytes()).hexdigest() for s in samples]
    assert (facts[0].width, facts[0].height, facts[0].mode, facts[0].format) == (60, 40, "RGB", "JPEG")
    assert (facts[2].width, facts[2].height, facts[2].mode, facts[2].format) == (7, 9, "L", "PNG")


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_number_of_workers_changes_nothing(photos, workers):
    samples = photos(6)
    assert inspect_images(samples, workers=workers) == inspect_images(samples, workers=2)
    assert hash_images(samples, workers=workers) == tuple(fact.sha256 for fact in inspect_images(samples, workers=1))


def test_one_bad_image_is_named_with_its_reason(photos):
    samples = photos(3)
    samples[1].path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"001\.jpg: the file is empty"):
        inspect_images(samples, workers=2)


def test_all_bad_images_are_counted_and_the_first_ten_named(photos):
    samples = photos(14)
    for sample in samples[1:]:
        content = sample.path.read_bytes()
        sample.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ImageError, match="13 images cannot be used") as caught:
        inspect_images(samples, workers=2)
    message = str(caught.value)
    assert "001.jpg: the image is broken or cut short" in message
    assert "010.jpg" in message
    assert "011.jpg" not in message
    assert "and 3 more" in message


def test_hashing_names_what_cannot_be_read_but_decodes_nothing(photos, tmp_path):
    samples = photos(1)
    samples[0].path.write_bytes(b"no image")
    assert hash_images(samples, workers=1) == (hashlib.sha256(b"no image").hexdigest(),)
    with pytest.raises(ImageError, match=r"gone\.jpg"):
        hash_images([*samples, Sample(tmp_path / "gone.jpg", "gone.jpg", 0)], workers=1)


def test_no_images_have_no_facts():
    assert inspect_images([], workers=2) == ()


def test_every_ant_and_bee_decodes(hymenoptera):
    dataset = open_dataset(hymenoptera)
    facts = inspect_images([*dataset.splits["train"], *dataset.splits["val"]], workers=2)
    assert len({fact.sha256 for fact in facts}) > 390
