"""The object cache: same bytes, damage, races, eviction, trust."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from dataclasses import fields, replace
from pathlib import Path

import pytest

from edgec.codegen import cache as cache_module
from edgec.codegen.cache import ObjectCache, cache_key
from edgec.codegen.host import host_features
from edgec.codegen.jit import compile_object
from edgec.errors import CodegenFailed, InvalidInput
from edgec.target import Target

TARGET = Target.native(host_features())
TEXT = "define i32 @answer() { ret i32 42 }"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "objects")


def entries(cache: ObjectCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        pytest.fail("compiled, though the object is in the cache")

    monkeypatch.setattr(cache_module, "compile_object", refuse)


def test_hit_equals_a_fresh_compile(
    cache: ObjectCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = compile_object(TEXT, TARGET)
    assert cache.compile(TEXT, TARGET) == fresh
    forbid_compiling(monkeypatch)
    assert cache.compile(TEXT, TARGET) == fresh
    assert ObjectCache(cache.folder).compile(TEXT, TARGET) == fresh


def test_failed_compile_leaves_nothing(cache: ObjectCache) -> None:
    with pytest.raises(CodegenFailed):
        cache.compile("define", TARGET)
    assert not cache.folder.exists()


def test_key_depends_on_all_that_the_object_depends_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {cache_key(TEXT, TARGET, 3), cache_key(TEXT + " ", TARGET, 3)}
    keys.add(cache_key(TEXT, TARGET, 2))
    for field in fields(Target):
        old = getattr(TARGET, field.name)
        new = frozenset({"sse3"}) if field.name == "features" else f"{old}0"
        keys.add(cache_key(TEXT, replace(TARGET, **{field.name: new}), 3))
    monkeypatch.setattr("edgec.__version__", "0.0.0")
    keys.add(cache_key(TEXT, TARGET, 3))
    monkeypatch.setattr(cache_module, "LLVMLITE_VERSION", "0.0.0")
    keys.add(cache_key(TEXT, TARGET, 3))
    assert len(keys) == 3 + len(fields(Target)) + 2


@pytest.mark.parametrize("seed", ["1", "2"])
def test_key_is_the_same_in_every_process(seed: str) -> None:
    script = (
        "from edgec.codegen.cache import cache_key\n"
        "from edgec.target import Target\n"
        "print(cache_key('text', Target.parse('x86-64-v4'), 3))"
    )
    environment = dict(os.environ, PYTHONHASHSEED=seed, PYTHONPATH=str(ROOT))
    command = [sys.executable, "-c", script]
    key = subprocess.check_output(command, env=environment, cwd=ROOT, text=True)
    assert key.strip() == cache_key("text", Target.parse("x86-64-v4"), 3)


def damages(content: bytes) -> list[bytes]:
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 1])
    return [
        b"",
        content[:10],
        content[:-1],
        content + b"\0",
        content[:middle] + flipped + content[middle + 1 :],
        b"E" + content[1:],
    ]


def test_damaged_entries_are_made_again(
    cache: ObjectCache, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = cache.compile(TEXT, TARGET)
    (entry,) = entries(cache)
    content = entry.read_bytes()
    for damaged in damages(content):
        entry.write_bytes(damaged)
        caplog.clear()
        assert cache.read(cache_key(TEXT, TARGET, 3)) is None
        assert f"{entry} is damaged" in caplog.text
        assert cache.compile(TEXT, TARGET) == fresh
        assert entry.read_bytes() == content


def test_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=3 * 1100)
    for age, key in enumerate("abc"):
        cache.write(key, bytes(1000))
        os.utime(tmp_path / f"{key}.o", (1000 + age, 1000 + age))
    assert cache.read("a") is not None  # used: now younger than b and c
    cache.write("d", bytes(1000))
    assert [path.stem for path in entries(cache)] == ["a", "c", "d"]


def test_entry_beyond_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=100)
    cache.write("a", bytes(1000))
    assert entries(cache) == []


def test_abandoned_temporaries_are_removed(cache: ObjectCache) -> None:
    cache.write("a", b"1")
    old, young = cache.folder / "x.part", cache.folder / "y.part"
    for path in (old, young):
        path.write_bytes(b"?")
    os.utime(old, (1000, 1000))
    cache.write("b", b"2")
    assert {path.name for path in entries(cache)} == {"a.o", "b.o", "y.part"}


def test_foreign_files_stay(cache: ObjectCache) -> None:
    cache.folder.mkdir(mode=0o700)
    (cache.folder / "notes.txt").write_bytes(bytes(10_000))
    replace(cache, limit_bytes=10).write("a", bytes(100))
    assert [path.name for path in entries(cache)] == ["notes.txt"]


def test_racing_writers_and_readers_see_whole_entries(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=4 * 5000)
    contents = {str(n): bytes([n]) * 4000 for n in range(8)}
    wrong: list[str] = []

    def work(start: int) -> None:
        for step in range(40):
            key = str((start + step) % len(contents))
            cache.write(key, contents[key])
            if cache.read(key) not in (None, contents[key]):
                wrong.append(key)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(path.suffix == ".o" for path in entries(cache))


def test_unwritable_folder_is_a_warning_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # A file stands where a parent folder would have to be.
    (tmp_path / "file").write_bytes(b"")
    cache = ObjectCache(tmp_path / "file" / "objects")
    with caplog.at_level(logging.WARNING):
        assert cache.compile(TEXT, TARGET) == compile_object(TEXT, TARGET)
    (message,) = caplog.messages
    assert message.startswith(f"edgec: cannot write the cache folder {cache.folder}: ")
    assert message.endswith(": set XDG_CACHE_HOME to a folder that can be written")


def test_folder_is_private(cache: ObjectCache) -> None:
    cache.write("a", b"1")
    assert cache.folder.stat().st_mode & 0o077 == 0


def test_folder_that_everybody_writes_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(InvalidInput, match="writable by everybody"):
        ObjectCache(tmp_path)


def test_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid
    if owner == 0:
        os.chown(tmp_path, 12345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(InvalidInput, match="must belong to this user"):
        ObjectCache(tmp_path)


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInput, match="is not a folder"):
        ObjectCache(tmp_path / "file")
