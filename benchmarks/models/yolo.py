"""A detector like YOLOv5-small (Jocher 2020): CSP backbone, SPP, PAN, three scales.

CSPNet is by Wang et al. (2020), spatial pyramid pooling by He et al. (2014), the path
aggregation network by Liu et al. (2018). Boxes are left as the network gives them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.models.layers import conv_norm_act

ANCHORS, CLASSES = 3, 80
"""Boxes per position; classes of COCO."""


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return conv_norm_act(inputs, outputs, kernel, stride=stride, activation=nn.SiLU)


class Bottleneck(nn.Module):
    """Two convolutions, with or without the sum."""

    def __init__(self, channels: int, *, is_residual: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _conv(channels, channels, 1), _conv(channels, channels, 3)
        )
        self.is_residual = is_residual

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        return x + self.branch(x) if self.is_residual else self.branch(x)


class CrossStage(nn.Module):
    """A CSP block with three convolutions around its bottlenecks."""

    def __init__(
        self, inputs: int, outputs: int, count: int, *, is_residual: bool = True
    ) -> None:
        super().__init__()
        half = outputs // 2
        blocks = (Bottleneck(half, is_residual=is_residual) for _ in range(count))
        self.deep = nn.Sequential(_conv(inputs, half, 1), *blocks)
        self.short = _conv(inputs, half, 1)
        self.join = _conv(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to `(N, C', H, W)`."""
        return self.join(torch.cat([self.deep(x), self.short(x)], dim=1))


class PyramidPool(nn.Module):
    """Maxima over windows of 5, 9 and 13 as three pools in a row."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.last = _conv(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, dim=1))


class Yolo(nn.Module):
    """`(N, 3, H, W)` to `(N, boxes, 5 + classes)`."""

    def __init__(self) -> None:
        super().__init__()
        stem = conv_norm_act(3, 32, 6, stride=2, padding=2, activation=nn.SiLU)
        self.to_eighth = nn.Sequential(
            stem,
            _conv(32, 64, 3, 2),
            CrossStage(64, 64, 1),
            _conv(64, 128, 3, 2),
            CrossStage(128, 128, 2),
        )
        self.to_16th = nn.Sequential(_conv(128, 256, 3, 2), CrossStage(256, 256, 3))
        self.to_32nd = nn.Sequential(
            _conv(256, 512, 3, 2), CrossStage(512, 512, 1), PyramidPool(512)
        )
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.narrow = nn.ModuleList([_conv(512, 256, 1), _conv(256, 128, 1)])
        self.halve = nn.ModuleList([_conv(128, 128, 3, 2), _conv(256, 256, 3, 2)])
        self.joins = nn.ModuleList(
            CrossStage(inputs, outputs, 1, is_residual=False)
            for inputs, outputs in ((512, 256), (256, 128), (256, 256), (512, 512))
        )
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, ANCHORS * (5 + CLASSES), 1)
            for channels in (128, 256, 512)
        )

    def forward(self, x: Tensor) -> Tensor:
        """All boxes of all scales."""
        eighth = self.to_eighth(x)
        sixteenth = self.to_16th(eighth)
        top = self.narrow[0](self.to_32nd(sixteenth))
        middle = self.joins[0](torch.cat([self.up(top), sixteenth], dim=1))
        middle = self.narrow[1](middle)
        fine = self.joins[1](torch.cat([self.up(middle), eighth], dim=1))
        medium = self.joins[2](torch.cat([self.halve[0](fine), middle], dim=1))
        coarse = self.joins[3](torch.cat([self.halve[1](medium), top], dim=1))
        scales = zip(self.heads, (fine, medium, coarse), strict=True)
        return torch.cat([_boxes(head(x)) for head, x in scales], dim=1)


def _boxes(x: Tensor) -> Tensor:
    """One row per box."""
    batch, _, height, width = x.shape
    x = x.view(batch, ANCHORS, 5 + CLASSES, height, width).permute(0, 1, 3, 4, 2)
    return x.sigmoid().reshape(batch, ANCHORS * height * width, 5 + CLASSES)


def yolo_small() -> Yolo:
    """Return the network."""
    return Yolo()
