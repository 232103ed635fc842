"""The computer that numbers belong to."""

from __future__ import annotations

import os
import platform
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from edgec.target import Target, usable_cores

PACKAGES = ("edgec", "xdsl", "llvmlite", "numpy", "torch", "onnxruntime", "openvino")


def describe_machine() -> dict[str, Any]:
    """Processor, instruction sets, cores, load and date, as plain values.

    The instruction sets are those that this process is told of when it asks the
    processor, which is what all engines here choose their code by: a virtual machine
    may hide some.
    """
    from edgec.codegen.host import host_features

    features = host_features()
    target = Target.native(features)
    return {
        "processor": _processor_name(),
        "tier": instruction_tier(features),
        "features": sorted(target.features),
        "l1d_bytes": target.l1d_bytes,
        "l2_bytes": target.l2_bytes,
        "cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, of those that are installed."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def instruction_tier(features: AbstractSet[str]) -> str:
    """The widest family of vector instructions among LLVM's feature names."""
    tiers = {
        "amx": "amx-tile",
        "avx512": "avx512f",
        "avx2": "avx2",
        "neon": "neon",
    }
    for tier, feature in tiers.items():
        if feature in features:
            return tier
    return "baseline"


def _processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The name that Linux knows; for people only, virtual machines change it."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
