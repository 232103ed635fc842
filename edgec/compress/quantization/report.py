"""What quantization did to a model, layer by layer and in total."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class QuantizedLayer:
    """What quantization did to one layer."""

    name: str
    """Dotted path of the module."""
    shape: tuple[int, ...]
    """Shape of its weight."""
    weights: str
    """The format of its weights; `none` if they are as they were."""
    activations: str
    """`int8` if its input is quantized, else `none`."""
    low: float
    """Lower end of the range of its input; NaN if that is not quantized."""
    high: float
    """Upper end of it."""
    dense_bytes: int
    """Bytes of the weight in float32."""
    stored_bytes: int
    """Bytes of the weight with its codes packed, scales included."""
    snr_db: float
    """Signal-to-noise ratio of its output in decibels: sum of squares of the output of
    the float model / of its difference to that of the quantized one, over all
    calibration batches; what earlier layers lost counts as noise too. NaN for
    recurrent layers."""
    note: str
    """Why the layer was left, or why it has no groups; empty otherwise."""


@dataclass(frozen=True)
class QuantizeReport:
    """What `quantize` did, layer by layer and in total."""

    layers: tuple[QuantizedLayer, ...]
    """Every convolution and linear layer, in the order in which they run; then the
    matrices of recurrent ones."""
    other_bytes: int
    """Bytes of all other parameters and buffers of the program."""

    @property
    def dense_bytes(self) -> int:
        """Bytes of all parameters before, with batch norms folded."""
        return self.other_bytes + sum(layer.dense_bytes for layer in self.layers)

    @property
    def stored_bytes(self) -> int:
        """Bytes of all parameters after, scales included."""
        return self.other_bytes + sum(layer.stored_bytes for layer in self.layers)

    def __str__(self) -> str:
        """A table: one line per layer, then totals."""
        width = max(len("layer"), *(len(layer.name) for layer in self.layers))
        lines = [
            f"{'layer':{width}}  {'shape':>16}  {'weights':>10}  {'input':>5}  "
            f"{'range of the input':>20}  {'dense B':>11}  {'stored B':>11}  "
            f"{'SNR dB':>6}  note"
        ]
        for row in self.layers:
            shape = "x".join(map(str, row.shape))
            ends = "-" if math.isnan(row.low) else f"{row.low:.4g} .. {row.high:.4g}"
            snr = "-" if math.isnan(row.snr_db) else f"{row.snr_db:.1f}"
            lines.append(
                f"{row.name:{width}}  {shape:>16}  {row.weights:>10}  "
                f"{row.activations:>5}  {ends:>20}  {row.dense_bytes:11,}  "
                f"{row.stored_bytes:11,}  {snr:>6}  {row.note}".rstrip()
            )
        ratio = self.dense_bytes / self.stored_bytes
        lines.append(
            f"model {self.dense_bytes:,} -> {self.stored_bytes:,} bytes "
            f"({ratio:.2f}x smaller, scales included)"
        )
        return "\n".join(lines)
