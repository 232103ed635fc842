"""What the tests of the importer share: small modules, and a comparison with eager."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin
from xdsl.dialects.func import Func
from xdsl.parser import Parser

from edgec.dialects.nn import NN
from edgec.importer import ImportedModel, import_model
from edgec.interpreter import interpret

TOLERANCE = 1e-5


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        """The function's value."""
        return self.function(*args)


def run(imported: ImportedModel, args: tuple[Any, ...]) -> Any:
    """The imported model's output, by the interpreter."""
    arrays = [tensor.detach().numpy() for tensor in imported.flatten_inputs(args)]
    results = interpret(imported.module, arrays, imported.ctx)
    return imported.unflatten_outputs([torch.from_numpy(r.copy()) for r in results])


def check(model: nn.Module, *args: Any) -> ImportedModel:
    """Import, verify, print and parse again, interpret, compare with eager."""
    model.eval()
    imported = import_model(model, args)
    imported.module.verify()
    context = Context()
    for dialect in (Builtin, Func, NN):
        context.load_dialect(dialect)
    text = str(imported.module)
    assert str(Parser(context, text).parse_module()) == text
    with torch.no_grad():
        expected = model(*args)
    torch.testing.assert_close(
        run(imported, args), expected, rtol=TOLERANCE, atol=TOLERANCE
    )
    return imported


def randomized(module: nn.Module) -> nn.Module:
    """Statistics, scales and shifts that are not the identity."""
    generator = torch.Generator().manual_seed(3)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.data.uniform_(0.5, 1.5, generator=generator)
    return module


def sample(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
