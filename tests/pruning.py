"""What the tests of pruning share: networks with a layer of every kind."""

from __future__ import annotations

import torch
from torch import nn

SCHEMES = (
    *("pattern", "connectivity", "unstructured", "2:4", "1:4", "4:8"),
    *("block-punched:4", "block-punched:8x4", "kgs:8x4", "kgs:4x2", "column:8"),
    *("column:4", "bcr:8x64", "bcr:4x10", "bsp:8x64", "bsp:4x10", "filter", "channel"),
)
"""One or two of every scheme, as the report spells them."""


class EveryKind(nn.Module):
    """Layers of every kind, of odd sizes; not called in a row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]
        self.stem = nn.Conv2d(3, 8, 3)
        self.plain = nn.Conv2d(10, 12, 3)
        self.grouped = nn.Conv2d(12, 20, 3, groups=2)
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12)
        self.point = nn.Conv2d(12, 9, 1)
        self.line = nn.Conv1d(6, 11, 5)
        self.volume = nn.Conv3d(5, 9, 3)
        self.hidden = nn.Linear(13, 16)
        self.lstm = nn.LSTM(7, 10, 2, bidirectional=True, proj_size=4)
        self.cell = nn.GRUCell(5, 8)
        self.last = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Two of the layers, twice the second."""
        return self.last(self.hidden(x)) + self.last(self.hidden(2 * x))
