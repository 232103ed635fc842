"""A small network to quantize, its inputs, and looks into the program."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

OPS = "quantized_decomposed"


class Residual(nn.Module):
    """Norms to fold, a sum, a concatenation, poolings, in-place calls."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding="same")
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.first(x)), inplace=True)
        y = functional.max_pool2d(y, 2)
        z = self.second(y)
        z += y
        z = torch.cat([functional.relu6(z), y], 1)[:, :8]
        return self.head(z.mean((2, 3)))


def residual() -> Residual:
    torch.manual_seed(0)
    model = Residual()
    for _ in range(5):
        model(2 * torch.randn(8, 3, 8, 8) + 0.5)
    return model.eval()


def batches(count: int = 4, shape: tuple[int, ...] = (2, 3, 8, 8)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def calls(program: ExportedProgram, name: str) -> list[torch.fx.Node]:
    return [n for n in program.graph.nodes if str(n.target).startswith(f"{OPS}.{name}")]


def run(program: ExportedProgram, x: Any) -> Any:
    with torch.no_grad():
        return program.module()(x)
