"""What `edgec.testing` gives to others finds the mistakes it is meant to find."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, StringAttr
from xdsl.ir import SSAValue
from xdsl.rewriter import Rewriter

import edgec.testing
from edgec.dialects import nn
from edgec.errors import InvalidInput
from edgec.passes.base import ReportingPass
from edgec.testing import (
    STEPS,
    Case,
    assert_pass_preserves,
    assert_results_close,
    nn_modules,
    op_case,
)

X = np.array([[-1, 2, 3]], np.float32)

_WITHOUT_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None
from edgec.testing import Case, assert_pass_preserves, assert_results_close, op_case
for name in ("nn_modules", "STEPS"):
    try:
        getattr(__import__("edgec.testing").testing, name)
    except ModuleNotFoundError as error:
        print(error)
"""


def test_only_the_strategies_need_hypothesis() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _WITHOUT_HYPOTHESIS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == [
        "edgec.testing.nn_modules needs hypothesis: pip install hypothesis",
        "edgec.testing.STEPS needs hypothesis: pip install hypothesis",
    ]


def test_exports_are_there() -> None:
    assert dir(edgec.testing) == sorted(edgec.testing.__all__)
    for name in edgec.testing.__all__:
        assert getattr(edgec.testing, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = edgec.testing.nothing


@dataclass(frozen=True)
class Tag(ReportingPass):
    """Appends a letter to an attribute of the module, `times` runs at most."""

    name = "tag"
    times: int = 1

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        old = op.attributes.get("tag", StringAttr(""))
        assert isinstance(old, StringAttr)
        if len(old.data) < self.times:
            op.attributes["tag"] = StringAttr(old.data + "x")
        return {"tags": 1}


@dataclass(frozen=True)
class DropRelu(ReportingPass):
    """Wrong on purpose: removes every relu."""

    name = "drop-relu"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        found = [unary for unary in op.walk() if isinstance(unary, nn.UnaryOp)]
        for unary in found:
            Rewriter.replace_op(unary, [], [unary.input])
        return {"removed": len(found)}


def relu_case() -> Case:
    def relu(x: SSAValue) -> nn.UnaryOp:
        return nn.UnaryOp("relu", x)

    return op_case(relu, X)


def test_a_right_pass_is_accepted_and_reports() -> None:
    case = relu_case()
    result = assert_pass_preserves(Tag(), *case, rtol=0, idempotent=True)
    assert result.statistics == {"tags": 1}
    assert "tag" in result.module.attributes
    assert "tag" not in case.module.attributes


def test_a_wrong_pass_is_found() -> None:
    with pytest.raises(AssertionError, match="result 0"):
        assert_pass_preserves(DropRelu(), *relu_case(), rtol=1e-3)


def test_a_second_change_is_found() -> None:
    assert_pass_preserves(Tag(times=2), *relu_case(), rtol=0)
    with pytest.raises(AssertionError, match="a second run of tag changes the module"):
        assert_pass_preserves(Tag(times=2), *relu_case(), rtol=0, idempotent=True)


def test_tolerance_is_relative_to_the_largest() -> None:
    expected = np.array([100, 0.001], np.float32)
    assert_results_close(
        [expected + np.array([0, 0.05], np.float32)], [expected], rtol=1e-3
    )
    with pytest.raises(AssertionError, match="result 0"):
        assert_results_close(
            [expected + np.array([0, 0.2], np.float32)], [expected], rtol=1e-3
        )


@pytest.mark.parametrize(
    "found",
    [
        [],
        [np.array([1, 2, 3], np.float32)],
        [np.array([1, np.inf], np.float64)],
        [np.array([1, np.nan], np.float32)],
        [np.array([1, -np.inf], np.float32)],
    ],
)
def test_differences_in_kind_are_found(found: list[np.ndarray]) -> None:
    with pytest.raises(AssertionError):
        assert_results_close(found, [np.array([1, np.inf], np.float32)], rtol=0.5)


def test_integers_are_compared_exactly() -> None:
    with pytest.raises(AssertionError):
        assert_results_close([np.array([1001])], [np.array([1000])], rtol=0.5)


def test_a_case_prints_its_module() -> None:
    assert "nn.unary relu" in repr(relu_case())
    assert "float32[1, 3]" in repr(relu_case())


def test_arrays_without_element_type_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no element type for complex64"):
        op_case(nn.UnaryOp, np.zeros(2, np.complex64))


@given(nn_modules(steps=("conv", "activation"), max_batch=1))
def test_only_the_steps_asked_for(case: Case) -> None:
    names = {op.name for op in case.module.walk() if op.name.startswith("nn.")}
    assert names <= {"nn.constant", "nn.conv", "nn.unary"}
    assert case.inputs[0].shape[0] == 1


def test_unknown_steps_are_refused() -> None:
    @given(nn_modules(steps=("convolute",)))
    def draw(case: Case) -> None:
        raise AssertionError("nothing can be drawn")

    with pytest.raises(InvalidInput, match=r"no steps named \['convolute'\]"):
        draw()
    assert "conv" in STEPS
