"""Text is the interface: printing and parsing gives the same module."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.dialects.func import Func
from xdsl.parser import Parser

from edgec.dialects.nn import NN
from edgec.interpreter import interpret
from edgec.testing import Case, nn_modules


def parsing_context() -> Context:
    ctx = Context()
    for dialect in (Builtin, Func, NN):
        ctx.load_dialect(dialect)
    return ctx


@given(nn_modules(spatial_ranks=(1, 2, 3)))
def test_parse_inverts_print(case: Case) -> None:
    text = str(case.module)
    parsed = Parser(parsing_context(), text).parse_module()
    parsed.verify()
    assert parsed.is_structurally_equivalent(case.module)
    assert str(parsed) == text


@given(nn_modules(spatial_ranks=(1, 2, 3)))
def test_random_modules_compute_finite_numbers(case: Case) -> None:
    for array in interpret(case.module, case.inputs, case.ctx):
        assert np.isfinite(array).all()


@given(nn_modules())
def test_a_parsed_module_computes_the_same(case: Case) -> None:
    parsed = Parser(parsing_context(), str(case.module)).parse_module()
    before = interpret(case.module, case.inputs, case.ctx)
    after = interpret(parsed, case.inputs, case.ctx)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
