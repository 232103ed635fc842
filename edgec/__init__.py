"""edgec: a compression-compilation co-design compiler for CPUs.

    compiled = edgec.compile(model, example_inputs, target="native", threads=2)
    y = compiled(x)

Nothing heavy is imported before it is used: `import edgec` loads neither torch nor
llvmlite.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgec import compress
    from edgec.compiled import CompiledModel, load
    from edgec.coupling import channel_groups
    from edgec.driver import compile
    from edgec.errors import EdgecError
    from edgec.forecast import predict
    from edgec.options import Options
    from edgec.target import Target
    from edgec.tuner import tune

__version__ = "0.1.0"

__all__ = [
    "CompiledModel",
    "EdgecError",
    "Options",
    "Target",
    "channel_groups",
    "compile",
    "compress",
    "load",
    "predict",
    "tune",
]

_HOMES = {
    "CompiledModel": "edgec.compiled",
    "EdgecError": "edgec.errors",
    "Options": "edgec.options",
    "Target": "edgec.target",
    "channel_groups": "edgec.coupling",
    "compile": "edgec.driver",
    "load": "edgec.compiled",
    "predict": "edgec.forecast",
    "tune": "edgec.tuner",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in ("compress", "testing"):
        return import_module(f"edgec.{name}")
    raise AttributeError(f"module 'edgec' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
