"""The estimated error of bfloat16, against what rounding does to random layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgec.dialects import bf16
from edgec.passes.analysis.precision import UNIT, layer_error, total_error

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], npt.NDArray[np.floating]]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape).astype(np.float32)


def after_relu(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return np.maximum(normal(rng, shape), 0)


def of_many_sizes(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return normal(rng, shape) * np.exp(normal(rng, shape))


def of_one_size(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Rounding moves 1.004 by nearly half a bit, and a power of two not at all."""
    return np.where(normal(rng, shape) > 0, 1, -1).astype(np.float32) * 1.00390


def relative(found: npt.NDArray[np.floating], wanted: Wide) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def product(x: Floats, w: Floats, *, rounds: bool) -> Wide:
    """Rows times weights, in float64."""
    x, w = (bf16.rounded(each) if rounds else each for each in (x, w))
    return x.astype(np.float64) @ w.astype(np.float64).T


@pytest.mark.parametrize("draw", [normal, after_relu, of_many_sizes])
def test_the_error_of_activations(draw: Draw) -> None:
    x = np.asarray(draw(np.random.default_rng(0), (100, 1000)), np.float32)
    assert relative(bf16.rounded(x), x.astype(np.float64)) == pytest.approx(UNIT, 0.1)


@pytest.mark.parametrize("inputs", [normal, after_relu, of_many_sizes])
@pytest.mark.parametrize("weights", [normal, of_many_sizes, of_one_size])
def test_the_error_of_a_layer(inputs: Draw, weights: Draw) -> None:
    rng = np.random.default_rng(1)
    x = np.asarray(inputs(rng, (200, 300)), np.float32)
    w = np.asarray(weights(rng, (100, 300)), np.float32)
    found = relative(product(x, w, rounds=True), product(x, w, rounds=False))
    assert found == pytest.approx(layer_error(w), 0.1)


def test_weights_that_are_exact_leave_the_error_of_activations() -> None:
    w = bf16.rounded(normal(np.random.default_rng(2), (20, 30)))
    assert layer_error(w) == UNIT
    assert layer_error(np.zeros_like(w)) == UNIT


def test_terms_of_one_sign_have_less() -> None:
    rng = np.random.default_rng(3)
    x, w = (np.abs(normal(rng, shape)) for shape in ((50, 300), (40, 300)))
    found = relative(product(x, w, rounds=True), product(x, w, rounds=False))
    assert found < layer_error(w) / 5


def test_errors_of_layers_add_as_squares() -> None:
    rng = np.random.default_rng(4)
    x = normal(rng, (200, 300))
    layers = [normal(rng, (300, 300)) for _ in range(4)]
    wanted, found = x, x
    for w in layers:
        wanted, found = (
            (product(each, w, rounds=rounds) / math.sqrt(300)).astype(np.float32)
            for each, rounds in ((wanted, False), (found, True))
        )
    estimate = total_error([layer_error(w) for w in layers])
    assert relative(found, wanted.astype(np.float64)) == pytest.approx(estimate, 0.1)
