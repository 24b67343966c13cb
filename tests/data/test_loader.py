from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest
import torch

from ftcli.data import workers as cores
from ftcli.data.decoding import decode
from ftcli.data.inspection import hash_images
from ftcli.data.loader import Decoder, Images, Loader, Workers, batch_indices, load_views, training_order
from ftcli.data.transforms import FixedViews, FreshViews, draw, evaluation_transform, training_transform, view_seed
from ftcli.errors import ImageError
from ftcli.records import InputSpec

SPEC = InputSpec(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def hashed(samples):
    return Images.labelled(samples, hash_images(samples, workers=1))


@dataclass
class Training:
    """A loader of training images with a seed; a context that ends its workers."""

    loader: Loader
    seed: int

    def epoch(self, epoch, views):
        return self.loader.epoch(epoch, views, seed=self.seed)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.loader.close()


def training(samples, *, workers=0, seed=0, batch_size=4, augment="strong"):
    transform = training_transform(SPEC, augment)
    return Training(Loader(hashed(samples), transform=transform, batch_size=batch_size, workers=workers), seed)


def joined(batches):
    """Return the indices and images of an epoch, in the order in which they came."""
    every = list(batches)
    return torch.cat([batch.indices for batch in every]).tolist(), torch.cat([batch.images for batch in every])


def by_index(batches):
    indices, images = joined(batches)
    return dict(zip(indices, images, strict=True))


@pytest.mark.parametrize(
    ("images", "size", "lengths"),
    [
        (9, 4, [3, 3, 3]),
        (8, 4, [4, 4]),
        (10, 4, [4, 3, 3]),
        (226, 32, [29] * 2 + [28] * 6),
        (1, 4, [1]),
        (5, 4, [3, 2]),
        (3, 1, [1, 1, 1]),
        (3, 2, [3]),
        (7, 2, [3, 2, 2]),
        (0, 4, []),
    ],
)
def test_batches_differ_by_one_at_most_and_none_is_a_single_image(images, size, lengths):
    order = list(reversed(range(images)))
    batches = batch_indices(order, size)
    assert [len(batch) for batch in batches] == lengths
    assert [index for batch in batches for index in batch] == order


def test_batches_do_not_depend_on_the_number_of_workers(photos):
    samples = photos(11)
    with training(samples) as alone, training(samples, workers=2) as helped:
        for epoch, views in ((1, FixedViews(3)), (2, FixedViews(3)), (3, FreshViews(7))):
            one, two = list(alone.epoch(epoch, views)), list(helped.epoch(epoch, views))
            assert len(one) == len(two) == 3
            for left, right in zip(one, two, strict=True):
                assert torch.equal(left.indices, right.indices)
                assert torch.equal(left.images, right.images)


def test_a_batch_has_its_shapes_and_types(photos):
    samples = photos(6)
    with training(samples) as loader:
        batch = next(iter(loader.epoch(1, FixedViews(2))))
    assert batch.images.shape == (3, 3, 32, 32)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert (batch.images.dtype, batch.indices.dtype) == (torch.uint8, torch.int64)


def test_images_keep_the_labels_and_clusters_of_their_samples(photos):
    samples = [
        replace(sample, cluster="seen together" if number < 2 else None) for number, sample in enumerate(photos(4))
    ]
    images = hashed(samples)
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == [sample.label for sample in samples]
    assert images.clusters == ("seen together", "seen together", *images.sha256s[2:])


def test_images_without_labels_are_loaded_like_others(photos):
    images = hashed(photos(5))
    unlabelled = Images(images.paths, images.sha256s)
    batches = []
    for each in (images, unlabelled):
        with Loader(each, transform=evaluation_transform(SPEC), batch_size=2, workers=0) as loader:
            batches.append(joined(loader.in_order()))
    (indices, pixels), (same_indices, same_pixels) = batches
    assert indices == same_indices
    assert torch.equal(pixels, same_pixels)


def test_every_epoch_is_another_permutation_fixed_by_the_seed(photos):
    samples = photos(10)
    with training(samples, seed=1) as loader, training(samples, seed=1) as same, training(samples, seed=2) as other:
        orders = [joined(loader.epoch(epoch, FixedViews(1)))[0] for epoch in (1, 2, 3)]
        assert all(sorted(order) == list(range(10)) for order in orders)
        assert orders[0] != orders[1] != orders[2]
        assert joined(same.epoch(2, FixedViews(1)))[0] == orders[1] == training_order(10, seed=1, epoch=2)
        assert joined(other.epoch(2, FixedViews(1)))[0] != orders[1]


def test_fixed_views_return_after_k_epochs_and_do_not_depend_on_the_seed(photos):
    samples = photos(5)
    with training(samples, seed=1) as loader, training(samples, seed=2) as other:
        first, second, third = (by_index(loader.epoch(epoch, FixedViews(2))) for epoch in (1, 2, 3))
        elsewhere = by_index(other.epoch(5, FixedViews(2)))
    for index in range(5):
        assert not torch.equal(first[index], second[index])
        assert torch.equal(first[index], third[index])
        assert torch.equal(first[index], elsewhere[index])


def test_fresh_views_change_every_epoch_and_with_the_seed(photos):
    samples = photos(5)
    with training(samples) as loader:
        first, second, other = (
            by_index(loader.epoch(epoch, FreshViews(seed))) for epoch, seed in ((1, 0), (2, 0), (1, 1))
        )
    assert not any(torch.equal(first[index], second[index]) for index in range(5))
    assert not any(torch.equal(first[index], other[index]) for index in range(5))


def test_a_view_follows_the_content_and_not_the_place(photos):
    samples = photos(4)
    with training(samples) as loader, training(samples[::-1]) as turned:
        views, again = by_index(loader.epoch(1, FixedViews(4))), by_index(turned.epoch(1, FixedViews(4)))
    assert all(torch.equal(views[index], again[3 - index]) for index in range(4))


@pytest.mark.parametrize("workers", [0, 2])
def test_views_that_are_loaded_on_their_own_are_those_that_the_epochs_use(photos, workers):
    samples = photos(5)
    sha256s = hash_images(samples, workers=1)
    wanted = [(index, tuple(view_seed(sha256s[index], view=view) for view in range(3))) for index in (4, 0, 2)]
    transform = training_transform(SPEC, "strong")
    batches = list(load_views(hashed(samples), wanted, transform=transform, batch_size=6, workers=workers))
    assert [len(batch.indices) for batch in batches] == [6, 3]
    indices, images = joined(batches)
    assert indices == [4, 4, 4, 0, 0, 0, 2, 2, 2]
    with training(samples, workers=workers) as loader:
        for epoch in range(3):
            used = by_index(loader.epoch(epoch, FixedViews(3)))
            assert all(torch.equal(images[3 * row + epoch], used[index]) for row, index in enumerate((4, 0, 2)))


def test_a_view_is_the_draw_with_its_seed(photos):
    samples = photos(1)
    transform = training_transform(SPEC, "standard")
    with training(samples, augment="standard") as loader:
        (batch,) = loader.epoch(6, FixedViews(4))
    (sha256,) = hash_images(samples, workers=1)
    assert torch.equal(batch.images[0], draw(transform, decode(samples[0].path), view_seed(sha256, view=2)))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_scores_every_image_once_in_order_as_often_as_asked(photos, workers):
    samples = photos(9)
    transform = evaluation_transform(SPEC)
    with Loader(hashed(samples), transform=transform, batch_size=4, workers=workers) as loader:
        for _ in range(2):
            batches = list(loader.in_order())
            assert [len(batch.indices) for batch in batches] == [3, 3, 3]
            indices, images = joined(batches)
            assert indices == list(range(9))
            assert all(torch.equal(images[i], transform(decode(samples[i].path))) for i in range(9))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_breaks_while_training_is_an_error_with_its_path(photos, workers):
    samples = photos(6)
    with training(samples, workers=workers) as loader:
        assert len(joined(loader.epoch(1, FixedViews(1)))[0]) == 6
        samples[3].path.write_bytes(b"broken")
        with pytest.raises(ImageError, match="was changed since it was checked") as caught:
            list(loader.epoch(2, FixedViews(1)))
        assert caught.value.where == str(samples[3].path)
        assert "Traceback" not in str(caught.value)


def test_an_epoch_left_early_does_not_disturb_the_next(photos):
    samples = photos(12)
    with training(samples, workers=2, batch_size=2) as loader, training(samples, batch_size=2) as undisturbed:
        next(iter(loader.epoch(1, FreshViews(0))))
        after, expected = joined(loader.epoch(2, FreshViews(0))), joined(undisturbed.epoch(2, FreshViews(0)))
    assert after[0] == expected[0]
    assert torch.equal(after[1], expected[1])


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_torchs_generator_as_it_was(photos, workers):
    before = torch.get_rng_state()
    with training(photos(5), workers=workers) as loader:
        list(loader.epoch(1, FixedViews(2)))
        list(loader.epoch(2, FixedViews(2)))
    assert torch.equal(torch.get_rng_state(), before)


def test_closing_ends_the_workers(photos):
    before = {process.pid for process in multiprocessing.active_children()}
    with training(photos(4), workers=2) as loader:
        next(iter(loader.epoch(1, FixedViews(1))))
        workers = {process.pid for process in multiprocessing.active_children()} - before
        assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_running(pid) for pid in workers)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_was_changed_since_it_was_hashed_is_refused(photos, workers):
    samples = photos(4)
    images = hashed(samples)
    samples[2].path.write_bytes(samples[1].path.read_bytes())
    transform = evaluation_transform(SPEC)
    with Loader(images, transform=transform, batch_size=2, workers=workers) as loader:
        batches = loader.in_order()
        assert next(batches).indices.tolist() == [0, 1]
        with pytest.raises(ImageError, match="was changed since it was checked") as caught:
            next(batches)
    assert caught.value.where == str(samples[2].path)


def test_a_program_that_forgets_to_close_ends_silently(photos):
    folder = photos(4)[0].path.parent
    script = f"""
from pathlib import Path
from ftcli.data.class_folders import Sample
from ftcli.data.loader import Images, Loader
from ftcli.data.inspection import hash_images
from ftcli.data.transforms import evaluation_transform
from ftcli.records import InputSpec
spec = InputSpec(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
samples = [Sample(path, path.name, 0) for path in sorted(Path({str(folder)!r}).iterdir())]
images = Images.labelled(samples, hash_images(samples, workers=1))
loader = Loader(images, transform=evaluation_transform(spec), batch_size=1, workers=2)
iterator = loader.in_order()
print(next(iterator).indices.tolist())
"""
    command = [sys.executable, "-W", "error", "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert ended.stdout == "[0]\n"
    assert ended.stderr == ""


def test_what_the_workers_get_can_be_pickled(photos):
    images, transform = hashed(photos(2)), training_transform(SPEC, "strong")
    request = (1, str(images.paths[1]), images.sha256s[1], (5,), transform)
    decoder, travelled = pickle.loads(pickle.dumps((Decoder(), request)))  # noqa: S301 (our own bytes)
    assert torch.equal(decoder[travelled][1], Decoder()[request][1])


def test_loaders_share_workers_that_outlive_them(photos):
    before = {process.pid for process in multiprocessing.active_children()}
    train, val = (hashed(photos(count)) for count in (9, 5))
    evaluation, augmentation = evaluation_transform(SPEC), training_transform(SPEC, "strong")
    with Workers(2) as workers:
        for _phase in range(2):
            with Loader(train, transform=augmentation, batch_size=4, workers=workers) as loader:
                shared = joined(loader.epoch(1, FixedViews(2), seed=0))
            wanted = [(index, (0,)) for index in range(5)]
            scored = joined(load_views(val, wanted, transform=evaluation, batch_size=2, workers=workers))
        assert len({process.pid for process in multiprocessing.active_children()} - before) == 2
    with Loader(train, transform=augmentation, batch_size=4, workers=0) as loader:
        alone = joined(loader.epoch(1, FixedViews(2), seed=0))
    assert shared[0] == alone[0]
    assert torch.equal(shared[1], alone[1])
    assert scored[0] == list(range(5))
    assert torch.equal(scored[1][3], evaluation(decode(val.paths[3])))


def test_few_images_or_one_core_need_no_workers(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 4)
    assert [cores.default_workers(images) for images in (10, 63, 64, 60_000)] == [0, 0, 4, 4]
    monkeypatch.setattr(cores, "available_cores", lambda: 128)
    assert cores.default_workers(60_000) == 16
    monkeypatch.setattr(cores, "available_cores", lambda: 1)
    assert cores.default_workers(60_000) == 0
