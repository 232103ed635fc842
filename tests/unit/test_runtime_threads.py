"""Finding the OpenMP runtime of the process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec.runtime.threads import default_threads, find_openmp, loaded_runtimes

MAPS = """\
7f00-7f01 r-xp 00000000 08:01 11 /usr/lib/libm.so.6
7f02-7f03 r--p 00000000 08:01 12 /opt/scikit/libgomp-a1b2.so.1
7f02-7f03 r-xp 00001000 08:01 12 /opt/scikit/libgomp-a1b2.so.1
7f04-7f05 r-xp 00000000 08:01 13 /opt/with space/torch/lib/libgomp.so.1
7f06-7f07 rw-p 00000000 00:00 0
7f08-7f09 r-xp 00000000 08:01 14 /opt/libgompertz/data.so
7f0a-7f0b r-xp 00000000 08:01 15 /opt/intel/libiomp5.so
7ffe-7fff r-xp 00000000 00:00 0 [vdso]
"""


def test_loaded_runtimes_come_once_and_torch_first(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(MAPS)
    assert loaded_runtimes(maps) == [
        "/opt/with space/torch/lib/libgomp.so.1",
        "/opt/intel/libiomp5.so",
        "/opt/scikit/libgomp-a1b2.so.1",
    ]


def test_no_list_of_files_means_no_loaded_runtime(tmp_path: Path) -> None:
    assert loaded_runtimes(tmp_path / "absent") == []


def test_unusable_runtimes_are_passed_over(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(MAPS)  # none of these files exists
    assert find_openmp(maps, "libc.so.6") is None  # loads, but is no OpenMP runtime


def test_no_runtime_at_all(tmp_path: Path) -> None:
    assert find_openmp(tmp_path / "absent", "libabsent.so.1") is None


def test_system_runtime_is_the_last_resort(tmp_path: Path) -> None:
    found = find_openmp(tmp_path / "absent")
    if found is None:
        pytest.skip("this system has no libgomp.so.1")
    assert found.path == "libgomp.so.1"
    addresses = {found.parallel, found.barrier, found.thread_num, found.num_threads}
    assert len(addresses) == 4
    assert 0 not in addresses


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="the system has no affinity"
)
def test_default_threads_follow_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert default_threads() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert default_threads() == len(before)
