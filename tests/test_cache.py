"""The cache: shared by processes, indifferent to damage, and never in the way."""

import multiprocessing
import os

import pytest

from edgeport.cache import cache_folder, cache_key, read_cached, write_cached


def test_what_is_written_is_read_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path))
    assert read_cached("kind", "k") is None
    write_cached("kind", "k", b"payload")
    write_cached("kind", "empty", b"")
    assert read_cached("kind", "k") == b"payload"
    assert read_cached("kind", "empty") == b""
    assert read_cached("other", "k") is None
    assert sorted(os.listdir(tmp_path / "kind")) == ["empty", "k"]


def test_keys_keep_their_parts_apart():
    keys = [cache_key(p) for p in (["ab", "c"], ["a", "bc"], ["abc"], ["ab", "c", ""], [b"ab", "d"])]
    assert len(set(keys)) == len(keys)
    assert cache_key(["ab", b"c"]) == keys[0]


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("EDGEPORT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgeport"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "edgeport"


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 40])
def test_a_damaged_entry_counts_as_missing(monkeypatch, tmp_path, damage):
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path))
    write_cached("kind", "k", b"payload")
    (tmp_path / "kind" / "k").write_bytes(damage)
    assert read_cached("kind", "k") is None
    write_cached("kind", "k", b"payload")
    assert read_cached("kind", "k") == b"payload"


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path / "file"))
    write_cached("kind", "k", b"payload")
    assert read_cached("kind", "k") is None


def _write_and_read(folder, number):
    os.environ["EDGEPORT_CACHE"] = folder
    for _ in range(40):
        write_cached("kind", "k", b"x" * 100_000)
        assert read_cached("kind", "k") == b"x" * 100_000
    return number


def test_processes_share_it(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.starmap(_write_and_read, [(str(tmp_path), i) for i in range(3)]) == [0, 1, 2]
    assert os.listdir(tmp_path / "kind") == ["k"]
