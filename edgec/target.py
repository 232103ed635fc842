"""The machine that code is made for.

A `Target` is a value: it holds all that a compiler decision may depend on (register
width, register count, caches, instruction sets) and is passed down. Names such as
`x86-64-v4` give the same value on every computer, so that compiling is reproducible;
only `native` looks at this one. It looks at feature flags, never at the name of the
processor, which virtual machines change.

Feature names are LLVM's (`avx512vnni`, `fma`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from edgec.errors import InvalidTarget

KIB = 1024

MAX_THREADS = 256
"""Most threads of one call: each has counters of its own in the arena, and OpenMP
runtimes end the process when they cannot start as many as asked for."""

X86_V2_FEATURES = frozenset(
    {"cx16", "popcnt", "sahf", "sse3", "ssse3", "sse4.1", "sse4.2"}
)
"""x86-64-v2 of the System V ABI supplement, beyond SSE2."""

X86_V3_FEATURES = X86_V2_FEATURES | {
    *("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"),
}
"""x86-64-v3 of the same supplement."""

X86_V4_FEATURES = X86_V3_FEATURES | {
    *("avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"),
}
"""x86-64-v4 of the same supplement."""

EXTENSIONS: dict[str, dict[str, frozenset[str]]] = {
    "x86_64": {
        "amx": frozenset({"amx-tile", "amx-int8", "amx-bf16"}),
        "bf16": frozenset({"avx512bf16"}),
        "fp16": frozenset({"avx512fp16"}),
        "vbmi": frozenset({"avx512vbmi"}),
        "vnni": frozenset({"avx512vnni"}),
    },
    "aarch64": {
        "bf16": frozenset({"bf16"}),
        "dotprod": frozenset({"dotprod"}),
        "fp16": frozenset({"fullfp16"}),
        "i8mm": frozenset({"i8mm"}),
    },
}
"""What may follow a base name, per architecture: `x86-64-v4+vnni` adds these."""

_X86_EXTENSIONS = frozenset[str]().union(*EXTENSIONS["x86_64"].values())

KNOWN_FEATURES: dict[str, frozenset[str]] = {
    "x86_64": X86_V4_FEATURES | _X86_EXTENSIONS | {"avxvnni"},
    "aarch64": frozenset({"neon"}).union(*EXTENSIONS["aarch64"].values()),
}
"""Features that generated code may use; `native` keeps these and drops the rest."""


@dataclass(frozen=True)
class Target:
    """A machine to compile for.

    >>> wide = Target.parse("x86-64-v4")
    >>> wide.lanes, wide.registers, wide.fma
    (16, 32, True)
    """

    name: str
    """The name that `parse` read."""
    triple: str
    """LLVM's target triple."""
    cpu: str
    """LLVM's processor name: a baseline, it also selects the scheduling model."""
    features: frozenset[str]
    """LLVM features that code may use; the machine that runs it must have them all."""
    lanes: int
    """32-bit elements in one vector register: 4, 8 or 16."""
    registers: int
    """Number of vector registers."""
    l1d_bytes: int
    """Size of the level 1 data cache of one core."""
    l2_bytes: int
    """Size of the level 2 cache of one core."""
    cores: int
    """Cores that one process may use; 1 where the machine is not known."""

    @property
    def architecture(self) -> str:
        """The first part of the triple, such as `x86_64`."""
        return self.triple.partition("-")[0]

    @property
    def fma(self) -> bool:
        """Whether fused multiply-add is an instruction (else it is a slow call)."""
        return "fma" in self.features or "neon" in self.features

    @property
    def llvm_features(self) -> str:
        """The feature string for LLVM's target machine, in a fixed order.

        LLVM's own tuning for AVX-512 baselines prefers half registers; with 16 lanes
        chosen here that would only split what was meant to be whole.
        """
        flags = [f"+{feature}" for feature in sorted(self.features)]
        if self.lanes == 16:
            flags.append("-prefer-256-bit")
        return ",".join(flags)

    @classmethod
    def parse(
        cls, name: str, host_features: Callable[[], Iterable[str]] | None = None
    ) -> Target:
        """The target called `name`: a base name, then any `+extension`.

        `host_features` is asked only for `native` (`edgec.codegen.host.host_features`
        is the usual one). Raises `InvalidTarget` for an unknown name or extension.
        """
        # pyright takes the annotation at its word, users need not.
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidTarget(f"target must be a name or a Target, got {name!r}")
        if name == "native":
            if host_features is None:
                raise InvalidTarget(
                    "target 'native' needs the features of this machine: pass "
                    "`host_features`, or name the machine"
                )
            return cls.native(host_features())
        base_name, *extensions = name.split("+")
        if base_name not in BASE_NAMES:
            raise InvalidTarget(f"unknown target '{name}'; {_allowed()}")
        base = _base(base_name)
        added = [_extension(name, base, each) for each in extensions]
        return replace(base, name=name, features=base.features.union(*added))

    @classmethod
    def native(
        cls,
        features: Iterable[str],
        machine: str | None = None,
        sysfs: Path = Path("/sys/devices/system/cpu"),
    ) -> Target:
        """This machine, which has `features` (LLVM's names).

        `machine` is the architecture, by default of this computer; cache sizes are read
        below `sysfs`, with those of a common machine where the system gives none.
        """
        architecture = _architecture(machine or platform.machine())
        known = KNOWN_FEATURES.get(architecture, frozenset())
        present = known.intersection(features)
        base = _base(_widest_base(architecture, present), architecture)
        caches = cache_sizes(sysfs)
        return replace(
            base,
            name="native",
            features=_usable(present, base) | base.features,
            l1d_bytes=caches.get(1, base.l1d_bytes),
            l2_bytes=caches.get(2, base.l2_bytes),
            cores=usable_cores(),
        )

    def missing_on(self, features: Iterable[str]) -> frozenset[str]:
        """The features of this target that a machine with `features` lacks."""
        return self.features.difference(features)


# Caches: the smaller of the common server parts of each level (Zen 2, Skylake-SP,
# Neoverse N1), so that tiles chosen for a name fit on most machines that run it.
_BASES = {
    "x86-64-v4": Target(
        name="x86-64-v4",
        triple="x86_64-unknown-linux-gnu",
        cpu="x86-64-v4",
        features=X86_V4_FEATURES,
        lanes=16,
        registers=32,
        l1d_bytes=32 * KIB,
        l2_bytes=1024 * KIB,
        cores=1,
    ),
    "x86-64-v3": Target(
        name="x86-64-v3",
        triple="x86_64-unknown-linux-gnu",
        cpu="x86-64-v3",
        features=X86_V3_FEATURES,
        lanes=8,
        registers=16,
        l1d_bytes=32 * KIB,
        l2_bytes=512 * KIB,
        cores=1,
    ),
    "aarch64": Target(
        name="aarch64",
        triple="aarch64-unknown-linux-gnu",
        cpu="generic",
        features=frozenset({"neon"}),
        lanes=4,
        registers=32,
        l1d_bytes=64 * KIB,
        l2_bytes=512 * KIB,
        cores=1,
    ),
}

BASE_NAMES = (*sorted(_BASES), "generic")
"""Names that `Target.parse` takes besides `native`."""


def _base(name: str, architecture: str | None = None) -> Target:
    """The target of a base name; `generic` is plain code for `architecture`."""
    if name != "generic":
        return _BASES[name]
    architecture = architecture or _architecture(platform.machine())
    return Target(
        name="generic",
        triple=f"{architecture}-unknown-linux-gnu",
        cpu="x86-64" if architecture == "x86_64" else "generic",
        features=frozenset(),
        lanes=4,
        registers=16,
        l1d_bytes=32 * KIB,
        l2_bytes=256 * KIB,
        cores=1,
    )


def _widest_base(architecture: str, present: frozenset[str]) -> str:
    if architecture == "aarch64":
        return "aarch64"
    for base in ("x86-64-v4", "x86-64-v3"):
        if architecture == "x86_64" and present >= _BASES[base].features:
            return base
    return "generic"


def _usable(present: frozenset[str], base: Target) -> frozenset[str]:
    """Drop features that need wider registers than `base` has."""
    if base.lanes == 16 or base.architecture == "aarch64":
        return present
    if base.lanes == 8:
        return frozenset(f for f in present if not f.startswith(("avx512", "amx")))
    return present & X86_V2_FEATURES


def _extension(name: str, base: Target, extension: str) -> frozenset[str]:
    """The features of one `+extension` of the target called `name`."""
    takes_extensions = base.name in ("x86-64-v4", "aarch64")  # the x86 ones are AVX-512
    allowed = EXTENSIONS[base.architecture] if takes_extensions else {}
    if extension not in allowed:
        raise InvalidTarget(
            f"target '{name}': unknown extension '{extension}'; {_allowed()}"
        )
    return allowed[extension]


def _allowed() -> str:
    x86 = ", ".join(f"+{e}" for e in sorted(EXTENSIONS["x86_64"]))
    arm = ", ".join(f"+{e}" for e in sorted(EXTENSIONS["aarch64"]))
    return (
        f"allowed are native, {', '.join(BASE_NAMES)}; x86-64-v4 takes {x86}, "
        f"aarch64 takes {arm}"
    )


def _architecture(machine: str) -> str:
    """The triple's spelling of what the operating system calls the machine."""
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def cache_sizes(sysfs: Path) -> dict[int, int]:
    """Bytes of the data (or unified) cache by level, of the first core.

    Levels that the system does not describe are absent.
    """
    sizes: dict[int, int] = {}
    for index in sorted(sysfs.glob("cpu0/cache/index*")):
        try:
            level = int((index / "level").read_text())
            kind = (index / "type").read_text().strip()
            size = _bytes_of((index / "size").read_text().strip())
        except (OSError, ValueError):
            continue  # a level that the kernel hides; the caller has a default
        if kind != "Instruction":
            sizes[level] = size
    return sizes


def _bytes_of(text: str) -> int:
    """Read sysfs' way to write a size: `48K`, `2M`, or plain bytes."""
    factor = {"K": KIB, "M": KIB * KIB}.get(text[-1:])
    return int(text[:-1]) * factor if factor else int(text)


def usable_cores() -> int:
    """Processors that this process may run on (its affinity, not the machine's)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
