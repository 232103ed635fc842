"""What pruning did to a model, layer by layer and in total.

Bytes are those of the stored parameters, indices included: the number to compare with
the size of the file, never the number of nonzeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgec.compress.patterns import Pattern

if TYPE_CHECKING:
    from edgec.forecast import Forecast


@dataclass(frozen=True)
class LayerReport:
    """What pruning did to one layer."""

    name: str
    """Dotted path of the module, of a recurrent layer that of the parameter."""
    shape: tuple[int, ...]
    """Shape of its weight."""
    scheme: str
    """The scheme with its parameters; `dense` if the layer was left alone."""
    block: int
    """Filters that share the number of a stored column; 0 for FKW and dense layers."""
    density: float
    """Weights that are not zero / all weights."""
    dense_bytes: int
    """Bytes of the weight as torch stores it."""
    stored_bytes: int
    """Bytes of the compressed weight, indices included."""
    retained_energy: float
    """Sum of squares after / before; 1 for a layer that held only zeros."""
    note: str
    """Why the layer was left dense, or how many filters of a pruned one are fixed;
    empty otherwise."""


@dataclass(frozen=True)
class PruneReport:
    """What `prune` did, layer by layer and in total."""

    layers: tuple[LayerReport, ...]
    """Every convolution, linear layer and recurrent weight, in the model's order."""
    patterns: tuple[Pattern, ...]
    """The set of patterns, flat positions in a 3x3 kernel; empty without `pattern`."""
    other_bytes: int
    """Bytes of all other parameters (biases, norms, embeddings, those of attention that
    are no layer), which stay as they are."""
    forecast: Forecast | None = None
    """Predicted latency, layer by layer, dense and pruned; None without a target."""

    @property
    def pruned(self) -> tuple[LayerReport, ...]:
        """The layers that were pruned."""
        return tuple(layer for layer in self.layers if layer.scheme != "dense")

    @property
    def density(self) -> float:
        """Kept weights / all weights over the pruned layers."""
        sizes = [math.prod(layer.shape) for layer in self.pruned]
        kept = [s * row.density for s, row in zip(sizes, self.pruned, strict=True)]
        return sum(kept) / sum(sizes)

    @property
    def dense_bytes(self) -> int:
        """Bytes of all parameters of the model before."""
        return self.other_bytes + sum(layer.dense_bytes for layer in self.layers)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all parameters of the model after, indices included."""
        return self.other_bytes + sum(layer.stored_bytes for layer in self.layers)

    def __str__(self) -> str:
        """A table: one line per layer, then totals."""
        width = max(len("layer"), *(len(layer.name) for layer in self.layers))
        kind = max(len("scheme"), *(len(layer.scheme) for layer in self.layers))
        lines = [
            f"{'layer':{width}}  {'shape':>16}  {'scheme':{kind}}  {'block':>5}  "
            f"{'density':>7}  {'dense B':>11}  {'stored B':>11}  {'energy':>6}  note"
        ]
        for row in self.layers:
            shape = "x".join(map(str, row.shape))
            lines.append(
                f"{row.name:{width}}  {shape:>16}  {row.scheme:{kind}}  "
                f"{row.block or '-':>5}  {row.density:7.3f}  {row.dense_bytes:11,}  "
                f"{row.stored_bytes:11,}  {row.retained_energy:6.3f}  "
                f"{row.note}".rstrip()
            )
        patterns = f" with {len(self.patterns)} patterns" if self.patterns else ""
        lines.append(
            f"{len(self.pruned)} of {len(self.layers)} layers pruned to density "
            f"{self.density:.3f}{patterns}; model "
            f"{self.dense_bytes:,} -> {self.stored_bytes:,} bytes "
            f"({_times(self.dense_bytes, self.stored_bytes)}, indices included)"
        )
        if self.forecast is not None:
            dense, ms = self.forecast.dense_ms, self.forecast.ms
            gain = dense / ms if ms else math.inf
            lines.append(
                f"predicted {dense:.3f} -> {ms:.3f} ms ({gain:.2f}x faster; "
                f"{self.forecast.target}, {self.forecast.threads} threads)"
            )
        return "\n".join(lines)


def _times(before: int, after: int) -> str:
    """`2.00x smaller`, or `1.10x larger` where indices outweigh the zeros."""
    if after > before:
        return f"{after / before:.2f}x larger"
    return f"{before / after:.2f}x smaller"
