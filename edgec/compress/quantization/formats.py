"""How weights are written: the codes that they may have, and the scale of each row.

Codes are integers of at most 8 bits, zero is always one of them, and a weight that is
zero gets code zero: what pruning dropped stays dropped.

| format | codes | source |
|---|---|---|
| `int8` | -127..127 | Jacob et al. (2018), symmetric, one scale per filter |
| `int4`, `int4:G` | -7..7; `:G` with one scale per G weights of a matrix | |
| `ternary` | -1, 0, 1 | Li, Zhang and Liu, Ternary Weight Networks (2016) |
| `pot4` | 0, ±1, ±2, ±4, … ±64 | Zhou et al., Incremental Network Quantization (2017) |
| `sp2-4` | 0, ±1, ±2, ±4, ±5, ±6, ±8 | Chang et al., Mix and Match (HPCA 2021) |
| `mixed:P` | P percent of the rows `int8`, the others `int4` | FILM-QNN (FPGA 2022) |
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from edgec.errors import InvalidInput

TINY = torch.finfo(torch.float32).tiny
"""Smallest scale: its inverse is finite in float32."""

TERNARY_THRESHOLD = 0.7
"""Times the mean magnitude; what is smaller becomes zero (Li et al. 2016, eq. 6)."""

CLIPS = torch.linspace(1.0, 0.4, 49, dtype=torch.float64)
"""Parts of the largest magnitude that are tried as the largest code."""


@dataclass(frozen=True)
class Grid:
    """The codes that a weight may have."""

    name: str
    bits: int
    """Bits of a code when it is stored."""
    levels: tuple[int, ...]
    """The codes that are not negative, ascending from 0."""

    @property
    def top(self) -> int:
        """The largest code."""
        return self.levels[-1]

    def project(self, scaled: Tensor) -> Tensor:
        """The nearest code of each element, as floats.

        Where two are equally near: the even one of contiguous codes, else the smaller.
        """
        if len(self.levels) == self.top + 1:
            return scaled.round().clamp(-self.top, self.top)
        levels = torch.tensor(self.levels, dtype=scaled.dtype)
        middles = (levels[1:] + levels[:-1]) / 2
        nearest = levels[torch.bucketize(scaled.abs().contiguous(), middles)]
        return nearest * scaled.sign()


INT8 = Grid("int8", 8, tuple(range(128)))
INT4 = Grid("int4", 4, tuple(range(8)))
TERNARY = Grid("ternary", 2, (0, 1))
POT4 = Grid("pot4", 4, (0, 1, 2, 4, 8, 16, 32, 64))
SP2 = Grid("sp2-4", 4, (0, 1, 2, 4, 5, 6, 8))
GRIDS = {grid.name: grid for grid in (INT8, INT4, TERNARY, POT4, SP2)}
FORMATS = ("none", *GRIDS, "int4:G", "mixed:P")
"""What `quantize` takes for its weights."""


@dataclass(frozen=True)
class WeightFormat:
    """A format by its name, parsed."""

    text: str
    grid: Grid
    group: int = 0
    """Weights of a row of a matrix that share a scale; 0 for the whole row."""
    wide_percent: float = 0.0
    """Rows that have 8 bits all the same."""

    @property
    def is_narrow(self) -> bool:
        """Whether there are rows of 4 bits or less."""
        return self.grid.bits <= 4


def parse_format(text: object) -> WeightFormat | None:
    """The format called `text`, None for `none`; raises `InvalidInput` for others."""
    if not isinstance(text, str):
        raise InvalidInput(f"weights must be a text, got {text!r}")
    if text == "none":
        return None
    if text in GRIDS:
        return WeightFormat(text, GRIDS[text])
    name, _, parameter = text.partition(":")
    if name == "int4" and re.fullmatch(r"\d+", parameter) and int(parameter) >= 2:
        return WeightFormat(text, INT4, group=int(parameter))
    is_number = re.fullmatch(r"\d+(\.\d+)?", parameter)
    if name == "mixed" and is_number and 0 <= float(parameter) <= 100:
        return WeightFormat(text, INT4, wide_percent=float(parameter))
    raise InvalidInput(
        f"weights must be one of {', '.join(FORMATS)} with G of at least 2 and P in "
        f"0..100, got '{text}'"
    )


@dataclass(frozen=True)
class Rows:
    """The scales of a weight `[R, K]`, from which its codes follow."""

    grid: Grid
    scales: Tensor
    """`[R, G]` float32, one for K / G neighbours."""
    wide: Tensor
    """`[R]` bool: the rows with 8 bits instead."""

    def full_scales(self, columns: int) -> Tensor:
        """`[R, K]`."""
        return self.scales.repeat_interleave(columns // self.scales.shape[1], dim=1)

    def project(self, scaled: Tensor) -> Tensor:
        """Codes of `[R, k]` elements that are divided by their scales already."""
        codes = self.grid.project(scaled)
        if self.wide.any():
            codes[self.wide] = INT8.project(scaled[self.wide])
        return codes

    def round(self, matrix: Tensor) -> Tensor:
        """The nearest codes of a matrix, int8; float32 arithmetic as torch's ops have.

        Ternary codes are decided by the threshold of the paper.
        """
        if self.grid is TERNARY:
            return _ternary_codes(matrix).to(torch.int8)
        inverse = 1.0 / self.full_scales(matrix.shape[1])
        return self.project(matrix * inverse).to(torch.int8)

    def part(self, rows: slice) -> Rows:
        """Some of the rows."""
        return replace(self, scales=self.scales[rows], wide=self.wide[rows])

    def with_wide(self, matrix: Tensor, wide: Tensor) -> Rows:
        """The same with the rows `wide` in 8 bits."""
        scales = torch.where(wide[:, None], row_scales(matrix, INT8), self.scales)
        return replace(self, scales=scales, wide=wide)


@dataclass(frozen=True)
class QuantizedWeight:
    """A weight as codes and scales."""

    codes: Tensor
    """int8, in the shape of the weight."""
    rows: Rows
    top: int
    """The largest code that the format has."""

    @property
    def values(self) -> Tensor:
        """What the codes mean, float32, as torch's dequantize ops compute it."""
        matrix = self.codes.reshape(len(self.codes), -1)
        return (matrix * self.rows.full_scales(matrix.shape[1])).reshape(
            self.codes.shape
        )

    @property
    def num_bytes(self) -> int:
        """Bytes when codes are packed, scales included."""
        width = self.codes[0].numel()
        wide = int(self.rows.wide.sum())
        bits = width * (wide * 8 + (len(self.codes) - wide) * self.rows.grid.bits)
        return (bits + 7) // 8 + self.rows.scales.numel() * 4


def choose_rows(matrix: Tensor, grid: Grid, group: int = 0) -> Rows:
    """The scales of a float32 matrix `[R, K]`; `group` divides K, or is 0."""
    rows, columns = matrix.shape
    parts = matrix.reshape(-1, group or columns)
    scales = row_scales(parts, grid).reshape(rows, -1)
    return Rows(grid, scales, torch.zeros(rows, dtype=torch.bool))


def row_scales(matrix: Tensor, grid: Grid) -> Tensor:
    """`[R, 1]` float32: a scale for each row of a matrix; 1 for rows of zeros.

    Eight bits have room for the largest weight of the row. Fewer clip it: of the
    scales in `CLIPS` the one with the smallest squared error. Ternary scales are the
    mean of what is above the threshold, the best for those codes.
    """
    largest = matrix.abs().amax(dim=1, keepdim=True).double()
    if grid is TERNARY:
        kept = _ternary_codes(matrix) != 0
        total = torch.where(kept, matrix.abs(), 0).double().sum(dim=1, keepdim=True)
        best = total / kept.sum(dim=1, keepdim=True).clamp(min=1)
    elif grid.bits == 8:
        best = largest / grid.top
    else:
        best = _least_error(matrix.double(), largest / grid.top, grid)
    best = torch.where(largest == 0, 1.0, best)
    return best.float().clamp(min=TINY)


def _least_error(matrix: Tensor, largest: Tensor, grid: Grid) -> Tensor:
    best, least = largest, torch.full_like(largest, torch.inf)
    for clip in CLIPS:
        scales = (largest * clip).clamp(min=TINY)
        off = grid.project(matrix / scales) * scales - matrix
        error = off.square().sum(dim=1, keepdim=True)
        best = torch.where(error < least, scales, best)
        least = torch.minimum(least, error)
    return best


def _ternary_codes(matrix: Tensor) -> Tensor:
    """-1, 0 or 1; the mean is that of the weights that pruning left."""
    nonzero = (matrix != 0).sum(dim=1, keepdim=True).clamp(min=1)
    mean = matrix.abs().double().sum(dim=1, keepdim=True) / nonzero
    return torch.where(matrix.abs() > TERNARY_THRESHOLD * mean, matrix.sign(), 0)
