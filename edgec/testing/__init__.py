"""What edgec tests itself with, for those who write passes.

    @given(nn_modules())
    def test_my_pass(case: Case) -> None:
        assert_pass_preserves(MyPass(), *case, rtol=1e-5)

The strategies, `nn_modules` and its `STEPS`, need hypothesis; the rest does not.
Exports are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgec.testing.cases import Case, op_case
    from edgec.testing.checks import (
        PassResult,
        assert_pass_preserves,
        assert_results_close,
    )
    from edgec.testing.graphs import nn_modules
    from edgec.testing.steps import STEPS

__all__ = [
    "STEPS",
    "Case",
    "PassResult",
    "assert_pass_preserves",
    "assert_results_close",
    "nn_modules",
    "op_case",
]

_HOMES = {
    "STEPS": "steps",
    "Case": "cases",
    "PassResult": "checks",
    "assert_pass_preserves": "checks",
    "assert_results_close": "checks",
    "nn_modules": "graphs",
    "op_case": "cases",
}


def __getattr__(name: str) -> Any:  # Any: one function serves every export
    """Load an export from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise ModuleNotFoundError(
            f"{__name__}.{name} needs hypothesis: pip install hypothesis",
            name="hypothesis",
        ) from error


def __dir__() -> list[str]:
    """The exports, loaded or not."""
    return sorted(__all__)
