"""What quantization did to a model, layer by layer and in total."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgec.forecast import Forecast


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
    """Why the layer was left, why it has no groups, or why its format was chosen; empty
    otherwise."""
    sensitivity: float = math.nan
    """Relative error of the network's results if this layer alone is quantized, for
    formats that were chosen by it; NaN for others."""


@dataclass(frozen=True)
class QuantizeReport:
    """What `quantize` did, layer by layer and in total."""

    layers: tuple[QuantizedLayer, ...]
    """Every convolution and linear layer, in the order in which they run; then the
    matrices of recurrent ones."""
    other_bytes: int
    """Bytes of all other parameters and buffers of the program."""
    forecast: Forecast | None = None
    """Predicted latency; None if no target was given."""
    expected_error: float = math.nan
    """The sum of all sensitivities; NaN if formats were not chosen by them."""
    measured_error: float = math.nan
    """The relative error of the program's results on all calibration batches."""

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
        is_chosen = not math.isnan(self.expected_error)
        own = f"{'error':>8}  " if is_chosen else ""
        lines = [
            f"{'layer':{width}}  {'shape':>16}  {'weights':>10}  {'input':>5}  "
            f"{'range of the input':>20}  {'dense B':>11}  {'stored B':>11}  "
            f"{'SNR dB':>6}  {own}note"
        ]
        for row in self.layers:
            shape = "x".join(map(str, row.shape))
            ends = "-" if math.isnan(row.low) else f"{row.low:.4g} .. {row.high:.4g}"
            snr = "-" if math.isnan(row.snr_db) else f"{row.snr_db:.1f}"
            if is_chosen:
                own = f"{_short(row.sensitivity):>8}  "
            lines.append(
                f"{row.name:{width}}  {shape:>16}  {row.weights:>10}  "
                f"{row.activations:>5}  {ends:>20}  {row.dense_bytes:11,}  "
                f"{row.stored_bytes:11,}  {snr:>6}  {own}{row.note}".rstrip()
            )
        ratio = self.dense_bytes / self.stored_bytes
        lines.append(
            f"model {self.dense_bytes:,} -> {self.stored_bytes:,} bytes "
            f"({ratio:.2f}x smaller, scales included)"
        )
        if is_chosen:
            lines.append(
                f"relative error of the results: expected {self.expected_error:.1e}, "
                f"measured {self.measured_error:.1e}"
            )
        if self.forecast is not None:
            lines.append(
                f"predicted {self.forecast.ms:.3f} ms ({self.forecast.target}, "
                f"{self.forecast.threads} threads)"
            )
        return "\n".join(lines)


def _short(error: float) -> str:
    return "-" if math.isnan(error) else f"{error:.1e}"
