"""Targets: names, extensions, what `native` takes from the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec.errors import InvalidTarget
from edgec.target import (
    BASE_NAMES,
    KIB,
    X86_V3_FEATURES,
    X86_V4_FEATURES,
    Target,
    cache_sizes,
    usable_cores,
)


@pytest.mark.parametrize(
    ("name", "lanes", "registers", "fma"),
    [
        ("x86-64-v3", 8, 16, True),
        ("x86-64-v4", 16, 32, True),
        ("x86-64-v4+vnni+amx", 16, 32, True),
        ("aarch64", 4, 32, True),
        ("generic", 4, 16, False),
    ],
)
def test_names_give_register_shapes(
    name: str, lanes: int, registers: int, fma: bool
) -> None:
    target = Target.parse(name)
    assert target.name == name
    assert (target.lanes, target.registers, target.fma) == (lanes, registers, fma)


@pytest.mark.parametrize("name", BASE_NAMES)
def test_named_targets_do_not_depend_on_this_machine(name: str) -> None:
    assert Target.parse(name, lambda: {"avx512f", "fma"}) == Target.parse(name)
    assert Target.parse(name).cores == 1


def test_extensions_add_features() -> None:
    plain, wide = Target.parse("x86-64-v4"), Target.parse("x86-64-v4+vnni")
    assert wide.features - plain.features == {"avx512vnni"}
    assert Target.parse("aarch64+dotprod").features == {"neon", "dotprod"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pentium", "unknown target 'pentium'; allowed are native, aarch64"),
        ("", "unknown target ''"),
        ("x86-64-v4+mmx", "unknown extension 'mmx'"),
        ("x86-64-v4+dotprod", "unknown extension 'dotprod'"),
        ("x86-64-v3+vnni", "unknown extension 'vnni'"),
        ("generic+vnni", "unknown extension 'vnni'"),
        ("native+vnni", "unknown target 'native"),
    ],
)
def test_unknown_names_list_what_is_allowed(name: str, message: str) -> None:
    with pytest.raises(InvalidTarget) as error:
        Target.parse(name, lambda: X86_V4_FEATURES)
    assert message in str(error.value)
    assert "x86-64-v3" in str(error.value)


def test_native_needs_somebody_to_ask() -> None:
    with pytest.raises(InvalidTarget, match="host_features"):
        Target.parse("native")


def test_native_takes_the_widest_registers_that_all_features_allow() -> None:
    def lanes(features: frozenset[str]) -> int:
        return Target.native(features, machine="x86_64").lanes

    assert lanes(X86_V4_FEATURES) == 16
    assert lanes(X86_V4_FEATURES - {"avx512vl"}) == 8
    assert lanes(X86_V3_FEATURES - {"fma"}) == 4
    assert lanes(frozenset()) == 4


def test_native_never_uses_what_the_machine_lacks() -> None:
    for present in (
        X86_V4_FEATURES | {"avx512vnni", "sgx"},
        X86_V4_FEATURES - {"avx512dq"},
        X86_V3_FEATURES - {"avx2"},
        frozenset({"sse3"}),
    ):
        target = Target.native(present, machine="x86_64")
        assert target.features <= present
        assert target.missing_on(present) == frozenset()


def test_narrow_native_drops_features_of_wide_registers() -> None:
    target = Target.native(X86_V4_FEATURES - {"avx512bw"}, machine="x86_64")
    assert target.lanes == 8
    assert not any(feature.startswith("avx512") for feature in target.features)


def test_native_on_other_architectures() -> None:
    assert Target.native({"neon", "dotprod"}, machine="aarch64").features == {
        "neon",
        "dotprod",
    }
    assert Target.native({"v"}, machine="riscv64").triple.startswith("riscv64-")
    assert Target.native({"v"}, machine="riscv64").features == frozenset()


def test_missing_features_are_named() -> None:
    target = Target.parse("x86-64-v4+vnni")
    assert target.missing_on(X86_V4_FEATURES) == {"avx512vnni"}


def test_llvm_features_are_in_a_fixed_order() -> None:
    flags = Target.parse("x86-64-v4").llvm_features.split(",")
    assert flags[:-1] == sorted(flags[:-1])
    assert flags[-1] == "-prefer-256-bit"
    assert Target.parse("generic").llvm_features == ""


def _write_cache(sysfs: Path, index: int, level: str, kind: str, size: str) -> None:
    folder = sysfs / "cpu0" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    for name, text in (("level", level), ("type", kind), ("size", size)):
        (folder / name).write_text(text + "\n")


def test_cache_sizes_are_read_from_the_system(tmp_path: Path) -> None:
    _write_cache(tmp_path, 0, "1", "Data", "48K")
    _write_cache(tmp_path, 1, "1", "Instruction", "64K")
    _write_cache(tmp_path, 2, "2", "Unified", "2M")
    assert cache_sizes(tmp_path) == {1: 48 * KIB, 2: 2048 * KIB}
    target = Target.native(X86_V3_FEATURES, machine="x86_64", sysfs=tmp_path)
    assert (target.l1d_bytes, target.l2_bytes) == (48 * KIB, 2048 * KIB)


def test_unreadable_cache_sizes_fall_back(tmp_path: Path) -> None:
    _write_cache(tmp_path, 0, "1", "Data", "unknown")
    (tmp_path / "cpu0" / "cache" / "index1").mkdir()
    assert cache_sizes(tmp_path) == {}
    target = Target.native(X86_V3_FEATURES, machine="x86_64", sysfs=tmp_path)
    assert target.l1d_bytes == Target.parse("x86-64-v3").l1d_bytes


def test_cores_follow_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    def affinity(_process: int) -> set[int]:
        return {0, 3, 5}

    monkeypatch.setattr(os, "sched_getaffinity", affinity, raising=False)
    assert usable_cores() == 3
    assert Target.native(frozenset(), machine="x86_64").cores == 3


def test_cores_without_affinity_are_those_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores() == 6
