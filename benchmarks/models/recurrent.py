"""The acoustic model of RTMobile (Dong et al. 2020): GRUs over speech features."""

from __future__ import annotations

from torch import Tensor, nn

FEATURES, HIDDEN, STATES = 39, 1024, 1920
"""Of a frame, of a layer, and outputs: those of the usual TIMIT model."""


class SpeechGru(nn.Module):
    """Two layers of GRU and a classifier of each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, HIDDEN, num_layers=2)
        self.classifier = nn.Linear(HIDDEN, STATES)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(T, N, 39)` to `(T, N, 1920)`."""
        return self.classifier(self.gru(x)[0])
