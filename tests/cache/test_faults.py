from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ftcli.cache import space
from ftcli.cache.key import CacheError
from ftcli.cache.store import FeatureStore


def test_two_processes_that_fill_one_collection_both_get_the_right_features(store, given, fork) -> None:
    def fill(numbers) -> None:
        with store.collection({}) as collection:
            given.fill(collection, numbers)
            given.check(collection, range(60))

    children = [fork(lambda: fill(range(60))), fork(lambda: fill(range(59, -1, -1)))]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    with store.collection({}) as collection:
        given.check(collection, range(60))
        assert given.stored(collection) == 60, "nothing is stored twice"


def test_a_killed_process_leaves_only_whole_entries_and_the_next_completes_them(store, given, fork) -> None:
    width, numbers = 2000, range(300)
    draw = np.random.default_rng(0)

    def fill() -> None:
        with store.collection({}) as collection:
            missing = collection.missing(given.names(numbers))
            given.fill(collection, missing, shard_bytes=150_000, width=width)
            time.sleep(60)

    stored = 0
    for _ in range(12):
        child = fork(fill)
        time.sleep(draw.uniform(0.005, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with store.collection({}) as collection:
            missing = set(collection.missing(given.names(numbers)))
            assert not collection.rejected
            assert not list(collection.path.glob("*.tmp"))
            assert len(list(collection.path.glob("*.lease"))) == 1
            there = [number for number in numbers if number not in missing]
            assert len(there) >= stored, "an interrupted extraction keeps what was done"
            stored = len(there)
            if there:
                given.check(collection, there, width=width)
    with store.collection({}) as collection:
        given.fill(collection, collection.missing(given.names(numbers)), width=width)
        given.check(collection, numbers, width=width)


def test_the_temporary_files_of_a_live_process_are_left_alone(store) -> None:
    with store.collection({}) as collection:
        lease = next(collection.path.glob("*.lease"))
        mine = lease.with_name(f"{lease.stem}.01234567.tmp")
        mine.write_bytes(b"half")
        dead = collection.path / "0123456789abcdef.01234567.tmp"
        dead.write_bytes(b"half")
        store.collection({}).close()
        assert (mine.exists(), dead.exists()) == (True, False)
    store.collection({}).close()
    assert not mine.exists()


def flip(position: int):
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 0x10
        path.write_bytes(content)

    return damage


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "cut in the header": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "garbage": lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
    "zeros at the end": lambda path: path.write_bytes(path.read_bytes()[:-64] + bytes(64)),
    "bit in the length": flip(0),
    "bit in the header": flip(30),
    "bit in a feature": flip(-1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_shard_is_never_used_and_its_entries_are_missing(store, given, damage) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(20))
    victim = sorted(collection.path.glob("*.safetensors"))[1]
    damage(victim)
    with store.collection({}) as collection:
        missing = collection.missing(given.names(range(20)))
        assert 0 < len(missing) < 20
        assert len(collection.rejected) == 1
        assert not victim.exists()
        with pytest.raises(CacheError, match="are not stored"):
            collection.open(given.names(range(20)))
        given.fill(collection, missing)
        given.check(collection, range(20))


def test_other_files_are_ignored(store, given) -> None:
    with store.collection({}) as collection:
        (collection.path / "notes.safetensors").write_text("hello")
        given.fill(collection, range(3))
        given.check(collection, range(3))
        assert not collection.rejected


def test_a_shard_that_cannot_be_read_now_is_neither_used_nor_removed(store, given) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(3))
    (collection.path / "0123456789abcdef-01234567.safetensors").mkdir()  # opening it is an OSError, even for root
    with store.collection({}) as collection:
        assert collection.missing(given.names(range(3))) == []
        assert len(collection.rejected) == 1


@pytest.mark.parametrize("failing", ["write", "fsync", "rename"])
def test_a_disk_that_becomes_full_is_a_cache_error_and_leaves_nothing_half(store, given, monkeypatch, failing) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(5))
        with monkeypatch.context() as patch:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            usual = Path.open

            def fail(*_: object, **__: object) -> None:
                raise full

            def open_to_read(path: Path, mode: str, **options: int) -> object:
                return fail() if "w" in mode else usual(path, mode, **options)

            where = {"write": (Path, "open"), "fsync": (os, "fsync"), "rename": (Path, "replace")}[failing]
            patch.setattr(*where, open_to_read if failing == "write" else fail)
            with pytest.raises(CacheError, match="cannot write the cache: No space left on device"):
                given.fill(collection, range(5, 10))
        assert not list(collection.path.glob("*.tmp"))
        assert collection.missing(given.names(range(10))) == [5, 6, 7, 8, 9]
        given.check(collection, range(5))


@pytest.fixture
def small_disk(tmp_path) -> Path:
    directory = tmp_path / "disk"
    directory.mkdir()
    command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=4m", "ftcli-test", str(directory)]
    if not shutil.which("umount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount")
    yield directory
    subprocess.run([shutil.which("umount") or "", "--lazy", str(directory)], check=True)


def test_a_small_disk_is_never_filled_beyond_half(small_disk, given) -> None:
    store = FeatureStore(small_disk)
    assert "half of the disk that is free" in str(store.would_fit(3_000_000))
    with store.collection({}) as collection:
        with pytest.raises(CacheError, match="half of the disk that is free"):
            given.fill(collection, range(200), width=2000, shard_bytes=200_000)
        assert 1_500_000 < space.collection_bytes(collection.path) < 2_200_000


def test_a_disk_that_is_really_full_is_a_cache_error(small_disk, given, monkeypatch) -> None:
    monkeypatch.setattr(space, "free_bytes", lambda _: 10**12)  # as if another process took the rest just now
    store = FeatureStore(small_disk)
    with store.collection({}) as collection:
        with pytest.raises(CacheError, match="No space left on device"):
            given.fill(collection, range(200), width=2000, shard_bytes=200_000)
        assert not list(collection.path.glob("*.tmp"))
        missing = set(collection.missing(given.names(range(200))))
        assert 0 < len(missing) < 200
        assert not collection.rejected
        given.check(collection, [number for number in range(200) if number not in missing], width=2000)


def test_a_directory_that_cannot_be_written_is_a_reason_and_a_cache_error(tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = FeatureStore(tmp_path / "file" / "cache")
    assert "cannot use the cache: Not a directory" in str(store.would_fit(1))
    with pytest.raises(CacheError, match="cannot use the cache: Not a directory"):
        store.collection({})


def test_a_read_only_disk_is_a_reason_and_a_cache_error(store, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert "cannot use the cache: Read-only file system" in str(store.would_fit(1))
    with pytest.raises(CacheError, match="Read-only file system"):
        store.collection({})


def test_a_read_only_mount_is_a_reason_and_a_cache_error(small_disk) -> None:
    store = FeatureStore(small_disk)
    store.collection({}).close()
    subprocess.run([shutil.which("mount") or "", "-o", "remount,ro", str(small_disk)], check=True)
    assert "Read-only file system" in str(store.would_fit(1))
    with pytest.raises(CacheError, match="Read-only file system"):
        store.collection({})


def test_a_cache_that_is_deleted_in_the_middle_is_a_cache_error(store, given) -> None:
    with store.collection({}) as collection:
        given.fill(collection, range(5))
        features = collection.open(given.names(range(5)), memory_limit_bytes=0)
        shutil.rmtree(store.directory)
        with pytest.raises(CacheError, match="No such file or directory"):
            given.fill(collection, range(5, 10))
        with pytest.raises(CacheError, match="No such file or directory"):
            collection.missing(given.names(range(5)))
        assert torch.equal(features.rows(np.array([3]))[0][0], given.entry_of(3)[0][0])


def test_a_lock_that_is_never_released_is_a_cache_error(store, given, monkeypatch) -> None:
    monkeypatch.setattr(space, "PATIENCE_SECONDS", 0.1)
    with store.collection({}) as collection:
        with space.locked(store.directory):
            with pytest.raises(CacheError, match="another process has held the cache's lock"):
                given.fill(collection, range(5))
            assert "another process has held" in str(store.would_fit(1))
        given.fill(collection, range(5))
