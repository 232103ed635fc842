"""Codes, scales, ranges and reconstruction against slow references in numpy."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgec.compress.quantization.formats import (
    CLIPS,
    GRIDS,
    INT4,
    INT8,
    POT4,
    SP2,
    TERNARY,
    Grid,
    QuantizedWeight,
    choose_rows,
    parse_format,
    row_scales,
)
from edgec.compress.quantization.observers import (
    OBSERVERS,
    RATIOS,
    Range,
    observe,
)
from edgec.compress.quantization.reconstruction import (
    BLOCK,
    DAMPING,
    output_errors,
    reconstruct,
)

# Registers the quantized_decomposed ops.
import_module("torch.ao.quantization.fx._decomposed")

Array = NDArray[np.float64]

CODES = {
    "int8": range(-127, 128),
    "int4": range(-7, 8),
    "ternary": (-1, 0, 1),
    "pot4": sorted({s * 2**i for s in (-1, 1) for i in range(7)} | {0}),
    "sp2-4": (-8, -6, -5, -4, -2, -1, 0, 1, 2, 4, 5, 6, 8),
}


@st.composite
def matrices(draw: st.DrawFn, columns: int | None = None) -> torch.Tensor:
    """Float32 `[R, K]` of any scale, often with zeros and with rows of zeros."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 6)), columns or draw(st.integers(1, 40))
    values = generator.standard_normal(shape) * 2.0 ** draw(st.integers(-60, 60))
    values *= 2.0 ** generator.integers(-4, 5, (shape[0], 1))
    values *= generator.random(shape) < draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    return torch.from_numpy(values.astype(np.float32))


def nearest_error(row: Array, scale: float, codes: list[int]) -> float:
    return sum(min((w - c * scale) ** 2 for c in codes) for w in row)


@pytest.mark.parametrize("name", CODES)
def test_the_codes_are_those_of_the_table(name: str) -> None:
    grid = GRIDS[name]
    assert sorted({s * c for c in grid.levels for s in (-1, 1)}) == list(CODES[name])
    assert len(CODES[name]) <= 2**grid.bits
    assert grid.top <= 127


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda g: g.name)
@given(matrix=matrices())
def test_every_element_gets_the_nearest_code(grid: Grid, matrix: torch.Tensor) -> None:
    scaled = matrix / matrix.abs().max().clamp(min=1e-30) * (grid.top + 1)
    codes = grid.project(scaled).numpy().astype(np.float64)
    wanted = np.array(list(CODES[grid.name]), np.float64)
    off = np.abs(scaled.numpy().astype(np.float64)[..., None] - wanted)
    assert np.isin(codes, wanted).all()
    np.testing.assert_array_equal(np.abs(scaled.numpy() - codes), off.min(axis=-1))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=lambda g: g.name)
@given(matrix=matrices())
def test_zeros_stay_zeros_and_codes_are_allowed(
    grid: Grid, matrix: torch.Tensor
) -> None:
    rows = choose_rows(matrix, grid)
    codes = rows.round(matrix)
    assert codes.dtype == torch.int8
    assert (codes[matrix == 0] == 0).all()
    assert set(codes.unique().tolist()) <= set(CODES[grid.name])
    assert torch.isfinite(1 / rows.scales).all()
    assert (rows.scales > 0).all()


@given(matrix=matrices())
def test_int8_is_symmetric_per_row(matrix: torch.Tensor) -> None:
    rows = choose_rows(matrix, INT8)
    for row, scale, codes in zip(
        matrix.numpy(), rows.scales[:, 0], rows.round(matrix).numpy(), strict=True
    ):
        largest = float(np.abs(row).max())
        wanted = np.float32(largest / 127 if largest else 1.0)
        assert float(scale) == wanted
        inverse = np.float32(1) / wanted
        expected = np.clip(np.rint(row * inverse), -127, 127)
        np.testing.assert_array_equal(codes, expected)
        # Half a step, and what the inverse loses.
        assert np.abs(codes * wanted - row).max() <= wanted * 0.5001


@pytest.mark.parametrize("grid", [INT4, POT4, SP2], ids=lambda g: g.name)
@given(matrix=matrices())
def test_narrow_scales_have_the_least_error_of_all_clips(
    grid: Grid, matrix: torch.Tensor
) -> None:
    scales = row_scales(matrix, grid)
    for row, scale in zip(matrix.double().numpy(), scales[:, 0].tolist(), strict=True):
        largest = np.abs(row).max()
        if not largest:
            assert scale == 1
            continue
        codes = list(CODES[grid.name])
        tried = [
            nearest_error(row, largest / grid.top * float(clip), codes)
            for clip in CLIPS
        ]
        found = nearest_error(row, scale, codes)
        assert found <= min(tried) * (1 + 1e-4) + 1e-12 * largest**2


@given(matrix=matrices())
def test_ternary_is_the_rule_of_the_paper(matrix: torch.Tensor) -> None:
    rows = choose_rows(matrix, TERNARY)
    codes = rows.round(matrix).numpy()
    for row, scale, code in zip(
        matrix.double().numpy(), rows.scales[:, 0].tolist(), codes, strict=True
    ):
        left = [abs(w) for w in row if w]
        threshold = 0.7 * sum(left) / max(1, len(left))
        expected = [np.sign(w) if abs(w) > threshold else 0 for w in row]
        np.testing.assert_array_equal(code, expected)
        kept = [abs(w) for w in row if abs(w) > threshold]
        assert scale == pytest.approx(np.mean(kept) if kept else 1.0, rel=1e-6)


@given(matrix=matrices(columns=24), group=st.sampled_from([2, 4, 8, 12]))
def test_groups_are_rows_of_their_own(matrix: torch.Tensor, group: int) -> None:
    rows = choose_rows(matrix, INT4, group)
    assert rows.scales.shape == (len(matrix), 24 // group)
    codes = rows.round(matrix)
    for start in range(0, 24, group):
        part = matrix[:, start : start + group].contiguous()
        alone = choose_rows(part, INT4)
        assert torch.equal(alone.scales[:, 0], rows.scales[:, start // group])
        assert torch.equal(alone.round(part), codes[:, start : start + group])
    weight = QuantizedWeight(codes, rows, 7)
    assert weight.num_bytes == len(matrix) * 12 + rows.scales.numel() * 4
    op = torch.ops.quantized_decomposed.dequantize_per_channel_group
    values = op(codes, rows.scales, None, -7, 7, torch.int8, group, torch.float32)
    assert torch.equal(weight.values, values)


@given(matrix=matrices(), data=st.data())
def test_wide_rows_are_int8_and_the_others_int4(
    matrix: torch.Tensor, data: st.DataObject
) -> None:
    size = len(matrix)
    wide = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    mixed = choose_rows(matrix, INT4).with_wide(matrix, torch.tensor(wide))
    codes = mixed.round(matrix)
    eight, four = choose_rows(matrix, INT8), choose_rows(matrix, INT4)
    for i, is_wide in enumerate(wide):
        source = eight if is_wide else four
        assert torch.equal(codes[i], source.round(matrix)[i])
        assert mixed.scales[i] == source.scales[i]


def test_formats_are_parsed() -> None:
    assert parse_format("none") is None
    grouped, mixed = parse_format("int4:32"), parse_format("mixed:12.5")
    assert grouped is not None
    assert (grouped.grid, grouped.group, grouped.is_narrow) == (INT4, 32, True)
    assert mixed is not None
    assert (mixed.grid, mixed.wide_percent, mixed.group) == (INT4, 12.5, 0)


# Ranges


@st.composite
def samples(draw: st.DrawFn) -> Array:
    """Elements of a value: one tail or two, any scale, sometimes an outlier."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = generator.standard_normal(draw(st.integers(1, 3000)))
    values[0] *= draw(st.sampled_from([1.0, 30.0]))
    values += draw(st.sampled_from([0.0, 5.0]))
    if draw(st.booleans()):
        values = np.maximum(values, 0)
    return (values * 2.0 ** draw(st.integers(-40, 40))).astype(np.float32).astype(float)


def mean_square(values: Array, found: Range) -> float:
    codes = np.clip(np.rint(values / found.scale) + found.zero_point, 0, 255)
    return float(np.mean(((codes - found.zero_point) * found.scale - values) ** 2))


@pytest.mark.parametrize("observer", OBSERVERS)
@given(values=samples())
def test_ranges_hold_zero_exactly(observer: str, values: Array) -> None:
    found = observe(observer, [torch.from_numpy(values).float()])
    assert found.low <= 0 <= found.high
    assert 0 <= found.zero_point <= 255
    assert found.scale == float(np.float32(found.scale)) > 0
    assert float(found.fake_quantize(torch.zeros(()))) == 0


@given(values=samples(), parts=st.integers(1, 4))
def test_minmax_and_percentile_are_what_they_say(values: Array, parts: int) -> None:
    batches = [torch.from_numpy(p).float() for p in np.array_split(values, parts)]
    found = observe("minmax", batches)
    assert found == Range(min(0.0, values.min()), max(0.0, values.max()))
    ordered = np.sort(values)
    place = 0.9999 * (len(values) - 1)
    before, part = int(place), place - int(place)
    after = min(before + 1, len(values) - 1)
    high = ordered[before] * (1 - part) + ordered[after] * part
    found = observe("percentile", batches)
    assert found.high == pytest.approx(max(0.0, high), rel=1e-6)
    assert values.min() <= found.low or found.low == 0


@given(values=samples())
def test_mse_is_as_good_as_any_clip(values: Array) -> None:
    found = mean_square(values, observe("mse", [torch.from_numpy(values).float()]))
    low, high = min(0.0, values.min()), max(0.0, values.max())
    tried = [mean_square(values, Range(low * r, high * r)) for r in RATIOS]
    # The search sees the means of 2048 bins and not the elements.
    step = (high - low) / 255
    assert found <= min(tried) * 1.05 + (step / 8) ** 2


@given(values=samples())
def test_fake_quantization_is_that_of_torch(values: Array) -> None:
    x = torch.from_numpy(values).float()
    found = observe("mse", [x])
    ops = torch.ops.quantized_decomposed
    numbers = (found.scale, found.zero_point, 0, 255, torch.uint8)
    codes = ops.quantize_per_tensor(x, *numbers)
    expected = ops.dequantize_per_tensor(codes, *numbers)
    assert torch.equal(found.fake_quantize(x), expected)


def test_a_value_that_is_zero_has_a_range() -> None:
    found = observe("mse", [torch.zeros(5)])
    assert (found.scale, found.zero_point) == (1.0, 0)


# Reconstruction


def slow_reconstruct(
    matrix: Array, scales: Array, codes: list[int], moments: Array
) -> Array:
    """Column by column, with the inverse of what is left computed anew each time."""
    work, result = matrix.copy(), np.zeros_like(matrix)
    damped = moments.copy()
    diagonal = np.diag(damped).copy()
    diagonal[diagonal == 0] = 1
    np.fill_diagonal(damped, diagonal + DAMPING * diagonal.mean())
    allowed = np.array(codes, float)
    for j in range(matrix.shape[1]):
        inverse = np.linalg.inv(damped[j:, j:])
        for r in range(len(matrix)):
            off = np.abs(work[r, j] / scales[r] - allowed)
            result[r, j] = allowed[off.argmin()] if matrix[r, j] else 0
            error = (work[r, j] - result[r, j] * scales[r]) / inverse[0, 0]
            work[r, j:] -= error * inverse[0]
    return result


@pytest.mark.parametrize("grid", [INT4, SP2, TERNARY], ids=lambda g: g.name)
@given(matrix=matrices(), seed=st.integers(0, 2**32 - 1))
def test_reconstruction_is_the_slow_one_where_it_helps(
    grid: Grid, matrix: torch.Tensor, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((3 * matrix.shape[1], matrix.shape[1]))
    inputs[:, 1:] += inputs[:, :-1]
    moments = inputs.T @ inputs / len(inputs)
    rows = choose_rows(matrix, grid)
    found = reconstruct(matrix, rows, torch.from_numpy(moments))
    plain = rows.round(matrix)
    scales = rows.scales.double()
    slow = slow_reconstruct(
        matrix.double().numpy(), scales[:, 0].numpy(), list(CODES[grid.name]), moments
    )
    assert (found[matrix == 0] == 0).all()

    def errors(codes: torch.Tensor) -> Array:
        off = codes.double() * scales - matrix.double()
        return output_errors(off, torch.from_numpy(moments)).numpy()

    best = np.minimum(errors(plain), errors(torch.from_numpy(slow)))
    limit = 1e-6 * float(scales.max()) ** 2
    np.testing.assert_allclose(errors(found), best, rtol=1e-4, atol=limit)


def test_reconstruction_helps_across_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    width = 2 * BLOCK + 5
    matrix = torch.randn(8, width, generator=generator)
    mixing = torch.randn(24, width, generator=generator, dtype=torch.float64)
    inputs = torch.randn(600, 24, generator=generator, dtype=torch.float64) @ mixing
    inputs += 0.1 * torch.randn(600, width, generator=generator, dtype=torch.float64)
    moments = inputs.T @ inputs / 600
    rows = choose_rows(matrix, INT4)
    off = [
        output_errors(codes * rows.scales - matrix, moments).sum()
        for codes in (reconstruct(matrix, rows, moments), rows.round(matrix))
    ]
    assert off[0] < 0.1 * off[1]


def test_inputs_that_were_always_zero_do_no_harm() -> None:
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    rows = choose_rows(matrix, INT4)
    codes = reconstruct(matrix, rows, torch.zeros(6, 6, dtype=torch.float64))
    assert torch.equal(codes, rows.round(matrix))
