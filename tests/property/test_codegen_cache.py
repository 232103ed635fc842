"""The object cache keeps what it was given, whatever the bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgec.codegen.cache import ObjectCache

KEYS = st.sampled_from(["a", "b", "c", "d"])
OBJECTS = st.binary(max_size=300)


@given(st.lists(st.tuples(KEYS, OBJECTS), max_size=12))
def test_reads_what_was_written_last(writes: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = ObjectCache(Path(folder))
        for key, content in writes:
            cache.write(key, content)
        for key in "abcd":
            assert cache.read(key) == dict(writes).get(key)


@given(st.lists(st.tuples(KEYS, OBJECTS), max_size=12), st.integers(0, 900))
def test_size_stays_within_the_limit(
    writes: list[tuple[str, bytes]], limit_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = ObjectCache(Path(folder), limit_bytes)
        for key, content in writes:
            cache.write(key, content)
            total = sum(path.stat().st_size for path in Path(folder).iterdir())
            assert total <= limit_bytes
            assert cache.read(key) in (None, content)


@given(OBJECTS, st.data())
def test_any_change_of_a_byte_is_noticed(content: bytes, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = ObjectCache(Path(folder))
        cache.write("a", content)
        path = Path(folder) / "a.o"
        stored = bytearray(path.read_bytes())
        position = data.draw(st.integers(0, len(stored) - 1))
        stored[position] ^= data.draw(st.integers(1, 255))
        path.write_bytes(bytes(stored))
        assert cache.read("a") is None
