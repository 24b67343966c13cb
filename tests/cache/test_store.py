from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ftcli.cache import space
from ftcli.cache.key import CacheError, cache_directory
from ftcli.cache.store import FeatureStore


def keep(store: FeatureStore, given, prefix: str, *, used_at: int | None = None) -> Path:
    """Store ten images under a prefix, last used so many seconds after 1970, and return where."""
    with store.collection({"prefix": prefix}) as collection:
        given.fill(collection, range(10), shard_bytes=10**6)
    if used_at is not None:
        os.utime(collection.path / "description.json", (used_at, used_at))
    return collection.path


def test_the_environment_moves_the_cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FTCLI_CACHE", str(tmp_path / "elsewhere"))
    assert cache_directory() == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "moved/ftcli"),
        ("linux", None, "home/.cache/ftcli"),
        ("darwin", None, "home/Library/Caches/ftcli"),
        ("win32", "LOCALAPPDATA", "moved/ftcli/Cache"),
    ],
)
def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch, tmp_path, platform, variable, expected) -> None:
    for name in ("FTCLI_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "moved"))
    assert cache_directory() == tmp_path / expected


def test_making_a_store_makes_nothing_on_the_disk(tmp_path) -> None:
    FeatureStore(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_least_recently_used_collection_is_evicted_first(tmp_path, given) -> None:
    store = FeatureStore(tmp_path)
    old, new, middle = (keep(store, given, prefix, used_at=at) for prefix, at in [("a", 1), ("b", 3), ("c", 2)])
    small = FeatureStore(tmp_path, limit_bytes=int(3.5 * space.collection_bytes(old)))
    newest = keep(small, given, "d")
    assert [path.exists() for path in (old, middle, new, newest)] == [False, True, True, True]


def test_using_a_collection_again_makes_it_the_last_to_be_evicted(tmp_path, given) -> None:
    store = FeatureStore(tmp_path)
    first, second = keep(store, given, "a", used_at=1), keep(store, given, "b", used_at=2)
    store.collection({"prefix": "a"}).close()
    keep(FeatureStore(tmp_path, limit_bytes=int(2.5 * space.collection_bytes(first))), given, "c")
    assert (first.exists(), second.exists()) == (True, False)


def test_reading_a_collection_does_not_count_as_a_use_but_keeps_it_meanwhile(tmp_path, given) -> None:
    store = FeatureStore(tmp_path)
    assert store.look_into({"prefix": "a"}) is None
    assert list(tmp_path.iterdir()) == []
    first, second = keep(store, given, "a", used_at=1), keep(store, given, "b", used_at=2)
    looked_into = store.look_into({"prefix": "a"})
    assert looked_into is not None
    with looked_into:
        given.check(looked_into, range(10))
        keep(FeatureStore(tmp_path, limit_bytes=int(2.5 * space.collection_bytes(first))), given, "c")
        assert (first.exists(), second.exists()) == (True, False), "an open collection stays"
    keep(FeatureStore(tmp_path, limit_bytes=int(1.5 * space.collection_bytes(first))), given, "d")
    assert not first.exists(), "it was not used"


def test_a_collection_in_use_is_never_evicted(tmp_path, given) -> None:
    store = FeatureStore(tmp_path)
    old, unused = keep(store, given, "a", used_at=1), keep(store, given, "b", used_at=2)
    with store.collection({"prefix": "a"}) as collection:
        os.utime(collection.path / "description.json", (1, 1))
        small = FeatureStore(tmp_path, limit_bytes=int(1.5 * space.collection_bytes(old)))
        assert "are in use" in str(small.would_fit(space.collection_bytes(old)))
        with pytest.raises(CacheError, match="do not fit into the cache"):
            keep(small, given, "c")
        given.check(collection, range(10))
    assert not unused.exists()
    keep(small, given, "c")
    assert not old.exists()


def test_a_collection_in_use_by_another_process_is_never_evicted(tmp_path, given, fork) -> None:
    old = keep(FeatureStore(tmp_path), given, "a", used_at=1)
    small = FeatureStore(tmp_path, limit_bytes=int(1.5 * space.collection_bytes(old)))
    (ready_out, ready_in), (end_out, end_in) = os.pipe(), os.pipe()

    def hold() -> None:
        os.close(end_in)
        held = small.collection({"prefix": "a"})
        os.write(ready_in, b"1")
        os.read(end_out, 1)  # until the parent closes the pipe; then the process just ends
        assert held.path.exists()

    child = fork(hold)
    os.close(end_out)
    os.read(ready_out, 1)
    with pytest.raises(CacheError, match="do not fit into the cache"):
        keep(small, given, "b")
    assert old.exists()
    os.close(end_in)
    assert os.waitpid(child, 0)[1] == 0
    keep(small, given, "b")
    assert not old.exists()
    os.close(ready_out)
    os.close(ready_in)


def test_a_process_that_was_forked_and_ends_does_not_end_the_use_of_its_parent(tmp_path, given, fork) -> None:
    small = FeatureStore(tmp_path, limit_bytes=10)
    with small.collection({"prefix": "a"}) as collection:
        assert os.waitpid(fork(collection.close), 0)[1] == 0
        small.collection({"prefix": "b"}).close()
        assert collection.path.exists()


def test_a_shortage_is_reported_before_anything_is_computed(tmp_path) -> None:
    store = FeatureStore(tmp_path, limit_bytes=1_000_000)
    assert store.would_fit(900_000) is None
    assert store.would_fit(2_000_000) == "2.0 MB do not fit into the cache, which may hold 1.0 MB (its limit)"


def test_what_others_no_longer_use_does_not_count_against_what_would_fit(tmp_path, given) -> None:
    kept = keep(FeatureStore(tmp_path), given, "a")
    store = FeatureStore(tmp_path, limit_bytes=space.collection_bytes(kept) + 100)
    assert store.would_fit(space.collection_bytes(kept) // 2) is None
    assert kept.exists(), "asking removes nothing"


def test_the_cache_takes_at_most_half_of_the_free_disk(tmp_path, given, monkeypatch) -> None:
    store = FeatureStore(tmp_path)
    monkeypatch.setattr(space, "free_bytes", lambda _: 20_000)
    assert "may hold 10.0 kB (half of the disk that is free)" in str(store.would_fit(10_001))
    with store.collection({}) as collection:
        with pytest.raises(CacheError, match="half of the disk that is free"):
            given.fill(collection, range(100))
        assert 0 < space.collection_bytes(collection.path) <= 20_000
        stored = sorted(set(range(100)) - set(collection.missing(given.names(range(100)))))
        given.check(collection, stored)


def test_a_limit_that_became_smaller_holds_when_the_cache_is_next_used(tmp_path, given) -> None:
    store = FeatureStore(tmp_path)
    old = keep(store, given, "a", used_at=1)
    FeatureStore(tmp_path, limit_bytes=10).collection({"prefix": "b"}).close()
    assert not old.exists()


def test_eviction_removes_only_collections(tmp_path, given) -> None:
    mine = tmp_path / "thesis" / "chapter.tex"
    mine.parent.mkdir()
    mine.write_text("x" * 1000)
    keep(FeatureStore(tmp_path), given, "a", used_at=1)
    FeatureStore(tmp_path, limit_bytes=10).collection({"prefix": "b"}).close()
    assert mine.exists()
