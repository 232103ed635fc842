"""What edgec adds to xDSL: dialects and passes, imported when they are used.

`xdsl-opt` finds `EDGEC_UNIVERSE` by the entry point `xdsl.universe`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from xdsl.ir import Dialect
from xdsl.universe import Universe

from edgec.passes import get_factories

DIALECTS: dict[str, str] = {
    "nn": "edgec.dialects.nn:NN",
    "sq": "edgec.dialects.sq:SQ",
    "lane": "edgec.dialects.lane:LANE",
}
"""Dialect name → `module:Object`, from the network down to the kernels."""


def get_dialect_factories() -> dict[str, Callable[[], Dialect]]:
    """Dialect name → function that imports and returns the dialect."""

    def factory(target: str) -> Callable[[], Dialect]:
        module, _, attribute = target.partition(":")
        return lambda: getattr(import_module(module), attribute)

    return {name: factory(target) for name, target in DIALECTS.items()}


EDGEC_UNIVERSE = Universe(
    all_dialects=get_dialect_factories(), all_passes=get_factories()
)
