"""What happens where Linux gives or refuses the tiles of AMX; the call is faked."""

from __future__ import annotations

import errno
from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from edgec.codegen import host, tile_permission
from edgec.codegen.host import host_features
from edgec.codegen.jit import check_runnable
from edgec.errors import InvalidTarget
from edgec.target import X86_V4_FEATURES, Target

AMX = {"amx-tile", "amx-int8", "amx-bf16"}
WIDE = X86_V4_FEATURES | {"avx512vnni"}


@dataclass
class Machine:
    """A processor, and a Linux that answers with a number."""

    features: frozenset[str] = frozenset(WIDE | AMX)
    answer: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def get_host_cpu_features(self) -> dict[str, bool]:
        return dict.fromkeys(self.features, True)

    def get_process_triple(self) -> str:
        return "x86_64-unknown-linux-gnu"

    def arch_prctl(self, function: int, argument: int) -> int:
        self.calls.append((function, argument))
        return self.answer


def forget() -> None:
    host_features.cache_clear()
    tile_permission.why_no_tiles.cache_clear()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Generator[Machine]:
    """In place of this computer, which is there again afterwards."""
    fake = Machine()
    monkeypatch.setattr(host, "llvm", fake)
    monkeypatch.setattr(tile_permission, "arch_prctl", fake.arch_prctl)
    monkeypatch.setattr(tile_permission.platform, "system", lambda: "Linux")
    forget()
    yield fake
    monkeypatch.undo()
    forget()


def test_tiles_are_asked_for_once(machine: Machine) -> None:
    assert host_features() >= AMX
    assert Target.native(host_features(), "x86_64").features >= AMX
    check_runnable(Target.parse("x86-64-v4+vnni+amx"))
    assert machine.calls == [(0x1023, 18)]


def test_a_processor_without_tiles_is_not_asked(machine: Machine) -> None:
    machine.features = frozenset(WIDE)
    assert not host_features() & AMX
    with pytest.raises(InvalidTarget, match=r"amx-bf16, amx-int8, amx-tile$"):
        check_runnable(Target.parse("x86-64-v4+vnni+amx"))
    assert not machine.calls


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (errno.EINVAL, r"older than 5\.16, .* \(arch_prctl: EINVAL\)"),
        (errno.EOPNOTSUPP, r"without support .* \(arch_prctl: E(OP)?NOTSUPP?\)"),
        (errno.ENOSPC, r"signal stack .* \(arch_prctl: ENOSPC\)"),
        (errno.EPERM, r"seccomp profile \(arch_prctl: EPERM\)"),
        (errno.ENOSYS, r"Function not implemented \(arch_prctl: ENOSYS\)"),
    ],
)
def test_where_linux_refuses(machine: Machine, answer: int, reason: str) -> None:
    machine.answer = answer
    with pytest.warns(RuntimeWarning, match=reason) as caught:
        assert host_features() == WIDE
    assert len(caught) == 1
    assert host_features() == WIDE  # nothing is said again
    native = Target.native(host_features(), "x86_64")
    check_runnable(native)
    assert "avx512vnni" in native.features
    assert not native.features & AMX
    with pytest.raises(InvalidTarget, match=f"may not use it: .*{reason}"):
        check_runnable(Target.parse("x86-64-v4+vnni+amx"))
    assert len(machine.calls) == 1


def test_other_systems(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_permission.platform, "system", lambda: "Darwin")
    with pytest.warns(RuntimeWarning, match="on Linux only, not Darwin"):
        assert host_features() == WIDE
    assert not machine.calls


def test_this_linux_answers() -> None:
    """A function that it does not know; no state changes."""
    uname = tile_permission.platform.uname()
    if (uname.system, uname.machine) == ("Linux", "x86_64"):
        assert tile_permission.arch_prctl(0x7FFF, 0) == errno.EINVAL
