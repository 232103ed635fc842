"""What the processor of this computer can do, as LLVM sees it."""

from __future__ import annotations

import functools
import warnings

from edgec.codegen.llvm import binding as llvm
from edgec.codegen.tile_permission import why_no_tiles

TILES = "amx-tile"
"""The feature without which no other one of AMX is."""


@functools.cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features of this processor that this process may use.

    Read with the CPUID instruction (or what the architecture has instead), so a
    feature that a virtual machine hides is not in it. Of AMX the system decides too:
    if it refuses, there is a warning, once.
    """
    present = processor_features()
    reason = why_no_tiles() if TILES in present else None
    if reason is None:
        return present
    warnings.warn(
        "this processor has AMX, but this process may not use its tiles: "
        f"{reason}; target 'native' goes on without AMX",
        RuntimeWarning,
        stacklevel=2,
    )
    return frozenset(name for name in present if not name.startswith("amx"))


def processor_features() -> frozenset[str]:
    """The same, whether or not the system allows it."""
    features: dict[str, bool] = llvm.get_host_cpu_features()
    present = {name for name, has_it in features.items() if has_it}
    if llvm.get_process_triple().startswith("aarch64"):
        present.add("neon")  # part of the 64-bit baseline; LLVM may not list it
    return frozenset(present)


def why_missing(missing: frozenset[str]) -> str:
    """What there is to say of features that a process lacks; may be empty."""
    if TILES not in missing or TILES not in processor_features():
        return ""
    return f"; the processor has AMX, but this process may not use it: {why_no_tiles()}"


def host_architecture() -> str:
    """The first part of the triple of this process, such as `x86_64`."""
    triple: str = llvm.get_process_triple()
    return triple.partition("-")[0]
