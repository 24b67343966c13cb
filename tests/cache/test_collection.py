from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ftcli.cache.collection import Collection
from ftcli.cache.key import CacheError, HalfPrecisionError, collection_key
from ftcli.cache.shard import Index, narrow, widen
from ftcli.cache.store import FeatureStore


def shards_of(collection: Collection) -> list[Path]:
    return sorted(collection.path.glob("*.safetensors"))


@pytest.mark.parametrize("memory_limit_bytes", [0, None], ids=["mapped", "in memory"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_what_is_read_is_bitwise_what_was_added(store, given, dtype, memory_limit_bytes) -> None:
    with store.collection({}) as collection:
        with collection.writer(shard_bytes=1000) as writer:
            for first in range(0, 40, 8):
                numbers = range(first, first + 8)
                entries = zip(*map(given.entry_of, numbers), strict=True)
                writer.add(given.names(numbers), tuple(narrow(torch.cat(each), dtype) for each in entries))
        assert len(shards_of(collection)) >= 3
        order = np.random.default_rng(0).permutation(40)
        features = collection.open(given.names(order), memory_limit_bytes=memory_limit_bytes)
        assert len(features) == 40
        positions = np.array([7, 0, 39, 7, 12])
        rows = features.rows(positions)
        for place, position in enumerate(positions):
            for tensor, original in zip(rows, given.entry_of(int(order[position])), strict=True):
                assert tensor.dtype == dtype
                assert torch.equal(tensor[place], original[0].to(dtype))


def test_a_view_that_occurs_twice_is_stored_once_and_read_twice(store, given) -> None:
    numbers = [1, 2, 1, 3, 2]
    with store.collection({}) as collection:
        assert collection.missing(given.names(numbers)) == [0, 1, 3]
        given.fill(collection, numbers)
        given.check(collection, numbers)
        assert given.stored(collection) == 3


def test_a_second_run_stores_only_the_new_views(store, given) -> None:
    with store.collection({"prefix": "a"}) as collection:
        given.fill(collection, range(20))
    before = {path: path.read_bytes() for path in shards_of(collection)}
    with store.collection({"prefix": "a"}) as collection:
        assert collection.missing(given.names(range(15, 25))) == [5, 6, 7, 8, 9]
        given.fill(collection, range(15, 25))
        assert collection.missing(given.names(range(25))) == []
        given.check(collection, range(25))
        assert {path: path.read_bytes() for path in before} == before
        assert given.stored(collection) == 25


def test_another_description_never_sees_the_entries(store, given) -> None:
    with store.collection({"prefix": "a", "views": 3}) as collection:
        given.fill(collection, range(5))
    with store.collection({"prefix": "a", "views": 4}) as other:
        assert other.missing(given.names(range(5))) == [0, 1, 2, 3, 4]
        with pytest.raises(CacheError, match="5 of 5 views are not stored"):
            other.open(given.names(range(5)))


def test_the_key_depends_on_every_value_and_not_on_the_order() -> None:
    description = {"weights": "x", "spec": {"size": 224, "mean": [0.5, 0.25]}, "views": 8}
    assert collection_key(description) == collection_key(dict(reversed(description.items())))
    others = [
        {**description, "views": 4},
        {**description, "views": "8"},
        {**description, "spec": {"size": 224, "mean": [0.25, 0.5]}},
        {**description, "format": 1},
    ]
    assert len({collection_key(other) for other in (description, *others)}) == 5


def test_the_description_is_readable_next_to_the_data(store) -> None:
    with store.collection({"prefix": "resnet18 up to layer4"}) as collection:
        assert '"resnet18 up to layer4"' in (collection.path / "description.json").read_text()


def test_nothing_but_data_and_description_is_left_when_a_collection_is_closed(store, given) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(10))
    assert {path.suffix for path in collection.path.iterdir()} == {".safetensors", ".json"}


def test_features_stay_readable_after_their_collection_is_closed(store, given) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(4))
        features = collection.open(given.names(range(4)), memory_limit_bytes=0)
    for path in shards_of(collection):
        path.unlink()
    assert torch.equal(features.rows(np.array([2]))[0][0], given.entry_of(2)[0][0])


def test_reading_nothing_gives_no_rows(store, given) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(4))
        features = collection.open(given.names(range(4)), memory_limit_bytes=0)
        assert [tensor.shape for tensor in features.rows(np.array([], dtype=np.int64))] == [(0, 48), (0, 6, 3)]


def test_a_position_out_of_range_is_refused(store, given) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(4))
        for limit in (0, None):
            features = collection.open(given.names(range(4)), memory_limit_bytes=limit)
            with pytest.raises(IndexError):
                features.rows(np.array([4]))
            with pytest.raises(AssertionError):
                features.rows(np.array([-1]))


def test_tensors_that_are_not_floating_point_are_stored_as_they_are(store, given) -> None:
    entry = (torch.tensor([2**40, -1]), torch.tensor([[True], [False]]), torch.tensor([0.5, 1.5], dtype=torch.bfloat16))
    with store.collection({}) as collection:
        with collection.writer() as writer:
            writer.add(given.names(range(2)), tuple(narrow(tensor, torch.float16) for tensor in entry))
        rows = collection.open([given.name_of(1)]).rows(np.array([0]))
    assert [tensor.tolist() for tensor in rows] == [[-1], [[False]], [1.5]]
    assert [widen(tensor).dtype for tensor in rows] == [torch.int64, torch.bool, torch.float32]


def test_the_writer_keeps_copies_and_not_the_callers_memory(store, given) -> None:
    batch = torch.ones(1, 4)
    with store.collection({}) as collection:
        with collection.writer() as writer:
            writer.add([given.name_of(0)], (batch,))
            batch.zero_()
        assert collection.open([given.name_of(0)]).rows(np.array([0]))[0].tolist() == [[1, 1, 1, 1]]


def test_a_finite_value_too_large_for_float16_is_refused(store, given) -> None:
    large = torch.tensor([[1.0, -7e4]])
    with pytest.raises(HalfPrecisionError, match="70000"):
        narrow(large, torch.float16)
    assert torch.equal(narrow(large, torch.float32), large)


def test_after_a_value_too_large_for_float16_nothing_of_the_shard_is_stored(store, given) -> None:
    with store.collection({}) as collection:
        writer = collection.writer()
        writer.add([given.name_of(0)], given.entry_of(0))
        with pytest.raises(HalfPrecisionError), writer:
            raise HalfPrecisionError("too large")
        assert collection.missing([given.name_of(0)]) == [0]


def test_features_that_are_all_too_small_for_float16_are_refused() -> None:
    with pytest.raises(HalfPrecisionError, match="features of at most 1e-05 lose digits in float16"):
        narrow(torch.tensor([0.0, -1e-5]), torch.float16)
    assert narrow(torch.tensor([0.0, -1e-5]), torch.float32)[1] == torch.tensor(-1e-5)
    for kept in (torch.zeros(3), torch.tensor([1e-5, 1.0])):
        assert torch.equal(narrow(kept, torch.float16), kept.half())


def test_values_that_were_infinite_before_are_not_an_overflow() -> None:
    encoded = narrow(torch.tensor([float("inf"), float("nan"), 1.0]), torch.float16)
    assert encoded.dtype == torch.float16
    assert encoded[0].isinf()
    assert encoded[1].isnan()


def test_entries_of_different_shapes_are_refused(store, given) -> None:
    with store.collection({}) as collection:
        writer = collection.writer()
        writer.add([given.name_of(0)], (torch.zeros(1, 4),))
        with pytest.raises(CacheError, match=r"float32 \(5,\).* float32 \(4,\)"):
            writer.add([given.name_of(1)], (torch.zeros(1, 5),))
        given.fill(collection, [0])
        with pytest.raises(CacheError, match="other shapes"):
            given.fill(collection, [1], width=17)
        given.check(collection, [0])


def test_what_was_added_before_an_error_is_stored(store, given) -> None:
    with store.collection({}) as collection:
        writer = collection.writer()
        writer.add([given.name_of(0)], given.entry_of(0))
        with pytest.raises(KeyboardInterrupt), writer:
            raise KeyboardInterrupt
        given.check(collection, [0])


def test_large_collections_are_read_with_the_memory_of_a_batch(store: FeatureStore, given) -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")

    def own_memory() -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1000

    images, width = 100, 300_000  # 120 MB
    with store.collection({}) as collection:
        with collection.writer(shard_bytes=20_000_000) as writer:
            for number in range(images):
                writer.add([given.name_of(number)], (torch.full((1, width), float(number)),))
        del writer
        before = own_memory()
        features = collection.open(given.names(range(images)), memory_limit_bytes=100_000_000)
        most = own_memory() - before
        for positions in np.random.default_rng(0).permutation(images).reshape(-1, 10):
            (rows,) = features.rows(positions)
            assert rows[:, 0].tolist() == positions.tolist()
            most = max(most, own_memory() - before)
        assert most < 40_000_000


def test_an_index_finds_what_a_search_of_all_keys_finds() -> None:
    generator = np.random.default_rng(0)
    shards = [np.frombuffer(generator.bytes(32 * count), dtype="S32") for count in (5, 1, 7)]
    shards.append(shards[0][:2])  # stored twice, by two processes
    index = Index()
    for keys in shards:
        index.add(keys)
    every = np.concatenate(shards).tolist()
    wanted = np.concatenate([shards[2], shards[0], np.frombuffer(generator.bytes(64), dtype="S32")])
    assert index.find(wanted).tolist() == [every.index(key) if key in every else -1 for key in wanted.tolist()]


def test_a_shard_is_not_read_again_by_the_process_that_wrote_it(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftcli.cache.collection.read", lambda path: pytest.fail(f"{path} is read"))
    names = [f"{number:064x}" for number in range(10)]
    with store.collection({"of": "this test"}) as collection:
        with collection.writer(shard_bytes=64) as writer:
            writer.add(names, (torch.arange(40.0).view(10, 4),))
        assert collection.missing(names) == []
        (rows,) = collection.open(names).rows(np.arange(10))
    assert torch.equal(rows, torch.arange(40.0).view(10, 4))
