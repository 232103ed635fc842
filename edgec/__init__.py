"""edgec: a compression-compilation co-design compiler for CPUs."""

from __future__ import annotations

__version__ = "0.1.0"
