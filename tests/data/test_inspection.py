from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from PIL import Image

from ftcli.data.class_folders import Sample
from ftcli.data.dataset import open_dataset
from ftcli.data.inspection import attempt_all, hash_images, survey_images
from ftcli.errors import ImageError


def test_facts_come_in_order_with_content_hash_size_and_mode(photos):
    samples = photos(5)
    Image.new("L", (7, 9)).save(samples[2].path, "PNG")
    facts = survey_images(samples, workers=2).facts
    assert [fact.name for fact in facts] == [sample.name for sample in samples]
    assert [fact.sha256 for fact in facts] == [hashlib.sha256(s.path.read_bytes()).hexdigest() for s in samples]
    assert (facts[0].width, facts[0].height, facts[0].mode, facts[0].format) == (60, 40, "RGB", "JPEG")
    assert (facts[2].width, facts[2].height, facts[2].mode, facts[2].format) == (7, 9, "L", "PNG")


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_the_number_of_workers_changes_nothing(photos, workers):
    samples = photos(6)
    survey = survey_images(samples, workers=workers)
    assert survey == survey_images(samples, workers=2)
    assert hash_images(samples, workers=workers) == tuple(fact.sha256 for fact in survey.facts)


def test_one_bad_image_is_named_with_its_reason(photos):
    samples = photos(3)
    samples[1].path.write_bytes(b"")
    with pytest.raises(ImageError, match=r"001\.jpg: the file is empty"):
        survey_images(samples, workers=2).refuse_bad()


def test_all_bad_images_are_counted_and_every_one_is_named(photos):
    samples = photos(14)
    for sample in samples[1:]:
        content = sample.path.read_bytes()
        sample.path.write_bytes(content[: len(content) // 2])
    survey = survey_images(samples, workers=2)
    assert [fact.name for fact in survey.facts] == ["000.jpg"]
    with pytest.raises(ImageError, match="13 images cannot be used") as caught:
        survey.refuse_bad()
    for sample in samples[1:]:
        assert f"{sample.name}: the image is broken or truncated" in str(caught.value)
    assert str(caught.value).count("Replace the file") == 1


def test_every_bad_image_has_a_line_of_its_own_whatever_its_name(photos):
    samples = [replace(sample, name=f"line\nbreak {sample.name}") for sample in photos(2)]
    for sample in samples:
        sample.path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        survey_images(samples, workers=1).refuse_bad()
    assert len(str(caught.value).splitlines()) == 1 + len(samples) + 1
    assert r"  line\nbreak 001.jpg: the file is empty (0 bytes)" in str(caught.value).splitlines()
    with pytest.raises(ImageError, match=r"^line\\nbreak 000\.jpg: the file is empty"):
        survey_images(samples[:1], workers=1).refuse_bad()


def test_every_kind_of_bad_image_has_its_advice(photos):
    samples = photos(2)
    samples[0].path.write_bytes(b"")
    samples[1].path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    with pytest.raises(ImageError) as caught:
        survey_images(samples, workers=2).refuse_bad()
    assert "Replace the file with a good copy" in str(caught.value)
    assert "Convert it to JPEG" in str(caught.value)


def test_hashing_does_not_decode_and_skips_unreadable_files(photos, tmp_path):
    samples = photos(1)
    samples[0].path.write_bytes(b"no image")
    gone = Sample(tmp_path / "gone.jpg", "gone.jpg", 0)
    assert hash_images([*samples, gone], workers=1) == (hashlib.sha256(b"no image").hexdigest(), None)


def test_no_images_have_no_facts():
    assert survey_images([], workers=2).facts == ()


def test_every_ant_and_bee_decodes(hymenoptera):
    dataset = open_dataset(hymenoptera)
    facts = survey_images([*dataset.splits["train"], *dataset.splits["val"]], workers=2).facts
    assert len({fact.sha256 for fact in facts}) > 390


def test_a_pool_is_given_images_in_slices_and_returns_all_in_order():
    submitted = []

    class Samples(list):
        def __getitem__(self, part):
            submitted.append(len(super().__getitem__(part)))
            return super().__getitem__(part)

        def __iter__(self):
            raise AssertionError("all images were submitted at once")

    seen = []
    samples = Samples(range(10_000))
    results = attempt_all(lambda number: 2 * number, samples, workers=2, on_image=lambda *at: seen.append(at))
    assert results == [2 * number for number in range(10_000)]
    assert max(submitted) < 5_000
    assert seen[-1] == (10_000, 10_000)
