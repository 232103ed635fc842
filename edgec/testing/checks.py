"""Assertions about passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from edgec.interpreter import interpret
from edgec.interpreter.arrays import AnyArray
from edgec.passes.base import run_pass


class PassResult(NamedTuple):
    """What a pass made of a module."""

    module: ModuleOp
    statistics: Mapping[str, int]


def assert_pass_preserves(
    pass_: ModulePass,
    module: ModuleOp,
    ctx: Context,
    inputs: Sequence[AnyArray],
    *,
    rtol: float,
    idempotent: bool = False,
) -> PassResult:
    """Run a pass on a copy of `module` and assert that `main` computes the same.

    The module verifies before and after. Results may differ by `rtol` times the largest
    magnitude in the result; with `rtol=0` they are equal bit for bit. With
    `idempotent` a second run must change nothing. The pass may add weights to `ctx`.
    """
    module.verify()
    before = interpret(module, inputs, ctx)
    changed = module.clone()
    statistics = run_pass(pass_, ctx, changed)
    changed.verify()
    assert_results_close(interpret(changed, inputs, ctx), before, rtol=rtol)
    if idempotent:
        text = str(changed)
        again = changed.clone()
        run_pass(pass_, ctx, again)
        assert str(again) == text, f"a second run of {pass_.name} changes the module"
    return PassResult(changed, statistics)


def assert_results_close(
    found: Sequence[AnyArray], expected: Sequence[AnyArray], *, rtol: float
) -> None:
    """Arrays agree in number, shape, type and, to `rtol` of the largest, in value.

    Integers and, with `rtol=0`, floats must be equal. Infinities and values that are
    not numbers must stand in the same places.
    """
    assert len(found) == len(expected)
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        name = f"result {index}"
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        if rtol == 0 or not np.issubdtype(b.dtype, np.floating):
            np.testing.assert_array_equal(a, b, err_msg=name)
            continue
        finite = np.abs(b[np.isfinite(b)])
        atol = rtol * float(finite.max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=0, atol=atol, err_msg=name)
