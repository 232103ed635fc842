"""What edgec tests itself with, for those who write passes: needs hypothesis.

@given(nn_modules())
def test_my_pass(case: Case) -> None:
assert_pass_preserves(MyPass(), *case, rtol=1e-5)
"""

from __future__ import annotations

from edgec.testing.cases import Case, op_case
from edgec.testing.checks import PassResult, assert_pass_preserves, assert_results_close
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
