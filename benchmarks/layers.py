"""Random single layers, pruned in every way: what `--suite sweep` measures.

Layer, scheme and density of a case depend on the seed and its number alone, so that any
range of a sweep can be run by itself.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.masks import Layer, punch
from edgec.compress import prune

MIN_WORK, MAX_WORK = 1e6, 1.5e8
"""Multiply-adds of a dense call: more than the call, less than some milliseconds."""
MIN_DENSITY, MAX_DENSITY = 0.05, 0.9

CHANNELS = (16, 24, 32, 48, 64, 96, 100, 128, 192, 256, 384, 512, 768, 1024)
"""Round numbers, and some that no register block divides."""
SIZES = (7, 8, 13, 14, 15, 19, 28, 31, 35, 56, 57, 75, 112, 113, 150, 224)
"""Rows and columns of an image."""
LENGTHS = (16, 50, 99, 128, 250, 400, 1000)
"""Of a sequence."""
DEPTHS = (4, 7, 8, 14, 16)
"""Slices of a volume."""
ROWS = (1, 1, 2, 3, 4, 7, 8, 16, 24, 32, 49, 64, 100, 128, 197, 200)
"""Of a linear layer; a single one is what most classifiers see."""
STEPS = (1, 1, 5, 20, 50)
"""Of a recurrent layer; one is a call of a stream."""
SEQUENCES = (1, 1, 2, 3, 4, 6, 8, 16)
"""In a batch of them."""
RECURRENT: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
KINDS = (
    *("conv2d",) * 6,
    *("conv1d", "conv3d", "linear", "linear", "linear"),
    *("rnn", "lstm", "gru"),
)
"""As often as they are drawn."""

MASKS = ("mask:1", "mask:4", "mask:8", "mask:16")
"""Granules of so many filters drawn by `benchmarks.masks`, not by edgec's pruner."""
SCHEMES = {
    "all": (
        *("unstructured", "2:4", "1:4", "column:2", "column:4", "column:8"),
        *("column:16", "bcr:8x64", "bcr:4x16", *MASKS),
    ),
    "layer": ("filter", "channel"),
    "convolution": ("connectivity", "block-punched:8x4", "block-punched:4"),
    "conv2d 3x3": ("pattern", "pattern", "pattern", "pattern", "pattern"),
    "conv3d": ("kgs:8x4", "kgs:4x4"),
    "matrix": ("bsp:8x64", "bsp:16x64", "column:32"),
}
"""What may prune a layer, by its kind; patterns often, as they have a kernel alone."""


@dataclass(frozen=True)
class LayerCase:
    """One layer and how it is pruned."""

    number: int
    kind: str
    """One of `KINDS`."""
    filters: int
    """Of a recurrent layer the elements of its state."""
    channels: int
    input_size: tuple[int, ...]
    """Positions of the input, the rows of a linear layer, the steps of a recurrent."""
    batch: int
    window: int
    stride: int
    dilation: int
    padding: int
    scheme: str
    density: float

    @property
    def title(self) -> str:
        """One line that names the case."""
        size = "x".join(map(str, self.input_size))
        text = f"{self.number}: {self.kind} {self.channels} to {self.filters}"
        if self.kind == "linear":
            return f"{text}, {size} rows, {self.scheme} {self.density:.2f}"
        if self.kind in RECURRENT:
            steps = f"{size} steps of {self.batch}"
            return f"{text}, {steps}, {self.scheme} {self.density:.2f}"
        parts = [f"{text}, window {self.window}, {self.batch} x {size}"]
        named = (("stride", self.stride, 1), ("dilation", self.dilation, 1))
        parts += [f"{name} {value}" for name, value, usual in named if value != usual]
        if self.window > 1 and not self.padding:
            parts.append("no padding")
        return ", ".join([*parts, f"{self.scheme} {self.density:.2f}"])

    @property
    def output_size(self) -> tuple[int, ...]:
        """Positions of the result."""
        reach = self.dilation * (self.window - 1) + 1
        whole = [size + 2 * self.padding - reach for size in self.input_size]
        return tuple(size // self.stride + 1 for size in whole)

    @property
    def work(self) -> int:
        """Multiply-adds of a call, zeros and all."""
        weights = self.filters * self.channels * self.window ** len(self.input_size)
        if self.kind in RECURRENT:
            gates = {"rnn": 1, "lstm": 4, "gru": 3}[self.kind]
            weights = gates * self.filters * (self.filters + self.channels)
        return weights * self.batch * math.prod(self.output_size)

    def build(self) -> tuple[nn.Module, Tensor]:
        """The pruned layer, as a module of its own, and an input."""
        torch.manual_seed(self.number)
        layer = self._layer()
        model = nn.Sequential(layer).eval().requires_grad_(requires_grad=False)
        if self.scheme.startswith("mask:"):
            block = int(self.scheme.partition(":")[2])
            weights = [p for p in layer.parameters() if p.dim() > 1]
            for number, weight in enumerate(weights):
                punch(weight, block, self.density, seed=self.number + number)
        else:
            # The last linear layer of a model keeps its filters, which are classes.
            whole = nn.Sequential(layer, nn.Linear(1, 1))
            path = "0.*" if self.kind in RECURRENT else "0"
            setting = {path: (self.scheme, self.density)}
            prune(whole, self.scheme, layers=setting, skip_first=False)
        shape = (self.batch, self.channels, *self.input_size)
        if self.kind == "linear":
            shape = (*self.input_size, self.channels)
        elif self.kind in RECURRENT:
            shape = (*self.input_size, self.batch, self.channels)
        return model, torch.randn(shape)

    def _layer(self) -> Layer:
        if self.kind == "linear":
            return nn.Linear(self.channels, self.filters)
        if self.kind in RECURRENT:
            return RECURRENT[self.kind](self.channels, self.filters)
        types = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}
        return types[self.kind](
            self.channels,
            self.filters,
            self.window,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


def draw_case(number: int, seed: int) -> LayerCase:
    """The case with this number; drawn until its work is within the limits."""
    generator = random.Random(f"{seed}/{number}")
    while True:
        case = _draw(number, generator)
        if min(case.output_size) > 0 and MIN_WORK <= case.work <= MAX_WORK:
            return case


def _draw(number: int, generator: random.Random) -> LayerCase:
    one = generator.choice
    kind = one(KINDS)
    is_window = kind.startswith("conv")
    rank = int(kind[4]) if is_window else 1
    window = (one((1, 1, 3, 3, 3, 5) if rank < 3 else (1, 3, 3))) if is_window else 1
    dilation = one((1, 1, 1, 2)) if window > 1 else 1
    sizes = {"conv1d": LENGTHS, "conv2d": SIZES, "conv3d": DEPTHS, "linear": ROWS}
    size = one(sizes.get(kind, STEPS))
    scheme, density = _draw_scheme(kind, window, generator)
    batches = {"linear": (1,), **dict.fromkeys(RECURRENT, SEQUENCES)}
    return LayerCase(
        number=number,
        kind=kind,
        filters=one(CHANNELS),
        channels=one(CHANNELS),
        input_size=(size,) * rank,
        batch=one(batches.get(kind, (1, 1, 1, 2, 4))),
        window=window,
        stride=one((1, 1, 1, 2)) if is_window else 1,
        dilation=dilation,
        padding=one((0, 1, 1, 1)) * dilation * (window // 2),
        scheme=scheme,
        density=density,
    )


def _draw_scheme(kind: str, window: int, generator: random.Random) -> tuple[str, float]:
    """A scheme that prunes such a layer, and a density that it can have."""
    schemes = [*SCHEMES["all"], *SCHEMES.get(kind, ())]
    if kind not in RECURRENT:
        schemes += SCHEMES["layer"]
    if kind == "linear" or kind in RECURRENT:
        schemes += SCHEMES["matrix"]
    elif window > 1:
        schemes += SCHEMES["convolution"]
    if kind == "conv2d" and window == 3:
        schemes += SCHEMES["conv2d 3x3"]
    low, high = math.log(MIN_DENSITY), math.log(MAX_DENSITY)
    scheme = generator.choice(schemes)
    density = math.exp(generator.uniform(low, high))
    if scheme[0].isdigit():
        kept, _, group = scheme.partition(":")
        return scheme, int(kept) / int(group)
    return scheme, min(density, 4 / 9) if scheme == "pattern" else density
