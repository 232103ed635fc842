"""What the processor of this computer can do, as LLVM sees it."""

from __future__ import annotations

import functools

from edgec.codegen.llvm import binding as llvm


@functools.cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features of this processor.

    Read with the CPUID instruction (or what the architecture has instead), so a
    feature that a virtual machine hides is not in it.
    """
    features: dict[str, bool] = llvm.get_host_cpu_features()
    present = {name for name, has_it in features.items() if has_it}
    if llvm.get_process_triple().startswith("aarch64"):
        present.add("neon")  # part of the 64-bit baseline; LLVM may not list it
    return frozenset(present)


def host_architecture() -> str:
    """The first part of the triple of this process, such as `x86_64`."""
    triple: str = llvm.get_process_triple()
    return triple.partition("-")[0]
