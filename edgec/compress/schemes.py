"""The schemes of pruning, by name: `column:8`, `2:4`, `pattern`.

A scheme says which layers it is for, which weights of a layer are the best to keep, and
how the rest is stored. It sees a weight as an array `[F, C, T]` of filters, channels
and taps; matrices have one tap. Nothing here knows of torch.

| scheme | granule: what is kept or dropped as one | source |
|---|---|---|
| `pattern` | kernel of a 3x3 convolution, four weights of it stay | PatDNN (2020) |
| `connectivity` | kernel | PatDNN (2020) |
| `unstructured` | weight | Han et al. (2015) |
| `N:M` | weight; N of M consecutive input channels stay | Zhou et al. (2021) |
| `block-punched:FxC` | one tap of F filters x C channels | YOLObile (2021) |
| `kgs:FxC` | the same of 3-D convolutions | RT3D (2021) |
| `column:F` | one column (channel and tap) of F filters | `block-punched:F` |
| `bcr:RxC` | rows and columns of each R x C block | GRIM (2021) |
| `bsp:RxC` | columns of each R x C block, then whole rows | RTMobile (2020) |
| `filter` | filter | Li et al. (2017) |
| `channel` | input channel | He et al. (2017) |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgec.compress.blocks import bcr_mask, bsp_mask
from edgec.compress.connectivity import kernel_energies, kernel_mask
from edgec.compress.geometry import Bools, Doubles, Floats, Geometry, Ints, Kind
from edgec.compress.granules import Granules
from edgec.compress.patterns import (
    FIXED,
    POSITIONS,
    TAPS,
    Pattern,
    pattern_mask,
)
from edgec.compress.storage import FKW_POSITIONS, Stored, column_bytes, fkw_bytes

DEPTHWISE = "depthwise"
"""Why a depthwise layer stays dense, unless it goes with others."""

CONVOLUTIONS: frozenset[Kind] = frozenset({"convolution"})
MATRICES: frozenset[Kind] = frozenset({"linear", "recurrent"})
STRUCTURED: frozenset[Kind] = frozenset({"convolution", "linear"})
EVERY_KIND = CONVOLUTIONS | MATRICES


@dataclass(frozen=True)
class Scheme(ABC):
    """A way to prune a layer."""

    text: str
    """Its name with all parameters, as a user writes it."""
    kinds: frozenset[Kind]
    """Kinds of layers that it prunes."""
    in_groups: bool
    """Whether it prunes grouped convolutions, each group by itself."""
    density: float | None = None
    """The density, where the scheme fixes it."""
    max_density: float = 1.0
    """The largest density that it can leave."""

    def why_not(self, layer: Geometry) -> str:
        """Why a layer stays dense; empty if it can be pruned."""
        if layer.kind not in self.kinds:
            return layer.kind
        if layer.is_depthwise:
            return DEPTHWISE
        if layer.groups != 1 and not self.in_groups:
            return f"{layer.groups} groups"
        return ""

    @abstractmethod
    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """Where `[F, C, T]` keeps its weights; a projected weight loses no more."""

    @abstractmethod
    def scores(self, weight: Floats, layer: Geometry) -> tuple[Doubles, Ints]:
        """Of every granule, the sum of squares and the number of weights kept in it."""

    @abstractmethod
    def stored(self, support: Bools, layer: Geometry, element: int) -> Stored:
        """How a weight with nonzeros in `support` is stored, `element` bytes each."""


@dataclass(frozen=True)
class KernelScheme(Scheme):
    """Whole kernels by their norm: `connectivity`, and `pattern` on top of it."""

    balanced: bool = False
    """Keep equally many kernels in every filter."""

    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """The kernels with the largest norm."""
        keep = kernel_mask(weight, density, balanced=self.balanced)
        return np.repeat(keep[:, :, None], layer.taps, axis=2)

    def scores(self, weight: Floats, layer: Geometry) -> tuple[Doubles, Ints]:
        """Of every kernel."""
        energies = kernel_energies(weight).reshape(-1)
        return energies, np.full(energies.size, layer.taps, np.int64)

    def stored(self, support: Bools, layer: Geometry, element: int) -> Stored:
        """FKW with all positions as the one pattern; else columns of one filter."""
        if layer.taps > FKW_POSITIONS:
            matrix = support.reshape(len(support), -1)
            return Stored(1, column_bytes(matrix, 1, element=element))
        kernels = int(support.any(axis=2).sum())
        size = fkw_bytes(layer.filters, kernels, 1, taps=layer.taps, element=element)
        return Stored(0, size)


@dataclass(frozen=True)
class PatternScheme(KernelScheme):
    """Kernels of four weights in a few patterns.

    A kernel's best pattern does not depend on whether the kernel stays, and what
    staying is worth is the energy that its pattern keeps: patterns first, kernels then,
    is the exact projection onto both constraints at once.
    """

    patterns: tuple[Pattern, ...] = FIXED

    def why_not(self, layer: Geometry) -> str:
        """Only 3x3 convolutions of one group."""
        if layer.kind == "convolution" and len(layer.window) != 2:
            return "not 2-D"
        if layer.kind == "convolution" and layer.window != (3, 3):
            return f"{'x'.join(map(str, layer.window))} kernels"
        return super().why_not(layer)

    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """Both constraints; densities above 4/9 give 4/9."""
        fraction = min(1.0, density * POSITIONS / TAPS)
        return pattern_connectivity_mask(
            weight, self.patterns, fraction, balanced=self.balanced
        )

    def scores(self, weight: Floats, layer: Geometry) -> tuple[Doubles, Ints]:
        """Of every kernel, with its best pattern."""
        kept = np.where(pattern_mask(weight, self.patterns), weight, 0)
        energies = kernel_energies(kept).reshape(-1)
        return energies, np.full(energies.size, TAPS, np.int64)

    def stored(self, support: Bools, layer: Geometry, element: int) -> Stored:
        """FKW."""
        kernels = int(support.any(axis=2).sum())
        patterns = len(self.patterns)
        return Stored(0, fkw_bytes(layer.filters, kernels, patterns, element=element))


@dataclass(frozen=True)
class ColumnScheme(Scheme):
    """What is stored as compressed columns."""

    block: int = 1
    """Filters that share the number of a column."""

    def stored(self, support: Bools, layer: Geometry, element: int) -> Stored:
        """Compressed columns, of each group by itself."""
        groups = support.reshape(layer.groups, -1, layer.channels * layer.taps)
        block = min(self.block, groups.shape[1])
        sizes = [column_bytes(self.ordered(g), block, element=element) for g in groups]
        return Stored(block, sum(sizes))

    def ordered(self, support: Bools) -> Bools:
        """The rows in the order in which they are stored."""
        return support


@dataclass(frozen=True)
class GranuleScheme(ColumnScheme):
    """The best granules of the layer; the exact projection."""

    granule: tuple[int, int, int] = (1, 1, 1)
    """Filters, channels and taps; 0 for all of them."""
    rank: int = 0
    """Dimensions of the convolutions it is for; 0 for any."""

    def why_not(self, layer: Geometry) -> str:
        """As any scheme, and only convolutions of its rank."""
        if layer.kind == "convolution" and self.rank not in (0, len(layer.window)):
            hint = "; block-punched prunes it" if self.rank == 3 else ""
            return f"not {self.rank}-D{hint}"
        return super().why_not(layer)

    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """The granules with the largest mean square."""
        return self._granules(layer).project(weight, density)

    def scores(self, weight: Floats, layer: Geometry) -> tuple[Doubles, Ints]:
        """Of every granule."""
        granules = self._granules(layer)
        return granules.energies(weight), granules.sizes

    def _granules(self, layer: Geometry) -> Granules:
        extents = zip(self.granule, layer.shape, strict=True)
        return Granules(layer, *(size or extent for size, extent in extents))


@dataclass(frozen=True)
class FilterScheme(GranuleScheme):
    """Whole filters; the kept ones are stored first."""

    def stored(self, support: Bools, layer: Geometry, element: int) -> Stored:
        """As one matrix; depthwise layers have one filter in each group."""
        return super().stored(support, replace(layer, groups=1), element)

    def ordered(self, support: Bools) -> Bools:
        """Kept filters, then the empty ones."""
        return support[np.argsort(~support.any(axis=1), kind="stable")]


@dataclass(frozen=True)
class NmScheme(ColumnScheme):
    """N:M: the N largest of each M consecutive input channels, per filter and tap."""

    n: int = 2
    m: int = 4

    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """The largest magnitudes; a last group of L < M channels keeps ceil(N L/M)."""
        whole = layer.channels // self.m * self.m
        mask = np.zeros(weight.shape, np.bool_)
        mask[:, :whole] = _largest_of(weight[:, :whole], self.m, self.n)
        rest = layer.channels - whole
        if rest:
            kept = -(-self.n * rest // self.m)
            mask[:, whole:] = _largest_of(weight[:, whole:], rest, kept)
        return mask

    def scores(self, weight: Floats, layer: Geometry) -> tuple[Doubles, Ints]:
        """Of every weight; not asked, as the density is fixed."""
        squares = np.square(weight.astype(np.float64)).reshape(-1)
        return squares, np.ones(squares.size, np.int64)


def _largest_of(weight: Floats, group: int, count: int) -> Bools:
    """Of each `group` channels the `count` largest; ties go to the earlier."""
    filters, channels, taps = weight.shape
    parts = np.abs(weight).reshape(filters, channels // group, group, taps)
    order = np.argsort(-parts, axis=2, kind="stable")[:, :, :count]
    keep = np.zeros(parts.shape, np.bool_)
    np.put_along_axis(keep, order, True, axis=2)
    return keep.reshape(weight.shape)


@dataclass(frozen=True)
class MatrixScheme(ColumnScheme):
    """BCR and BSP: blocks of rows and columns; heuristics, see `blocks`."""

    columns: int = 64
    """Columns of a block; its rows are `block`."""

    def scores(self, weight: Floats, layer: Geometry) -> tuple[Doubles, Ints]:
        """Of every column of each `block` rows."""
        granules = Granules(layer, self.block, 1, 1)
        return granules.energies(weight), granules.sizes


@dataclass(frozen=True)
class BcrScheme(MatrixScheme):
    """Rows and columns of each block."""

    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """The heuristic of GRIM."""
        return bcr_mask(weight, density, self.block, self.columns)


@dataclass(frozen=True)
class BspScheme(MatrixScheme):
    """Columns of each block, then rows of the matrix."""

    def mask(self, weight: Floats, layer: Geometry, density: float) -> Bools:
        """The heuristic of RTMobile."""
        return bsp_mask(weight, density, self.block, self.columns)


def pattern_connectivity_mask(
    weight: Floats,
    patterns: Sequence[Pattern],
    fraction: float,
    *,
    balanced: bool = False,
) -> Bools:
    """Mask of the nearest weight with both constraints.

    `weight` is `[F, C, 3, 3]` or `[F, C, 9]`, and so is the mask.
    """
    mask = pattern_mask(weight, patterns)
    kept = np.where(mask, weight, weight.dtype.type(0))
    keep = kernel_mask(kept, fraction, balanced=balanced)
    return mask & keep.reshape(*keep.shape, *(1,) * (weight.ndim - 2))
