"""What fusion saves: ops and launches of networks, counted, not timed.

A launch is one call of a kernel in the compiled program, so the last three columns are
what convert-to-lane makes. Without `fuse` there is no program: there, ops are counted
that would each need a kernel of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn as torch_nn
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass

from benchmarks.models import model_spec
from edgec.dialects import nn, sq
from edgec.driver import host_features
from edgec.importer import import_model
from edgec.options import Options
from edgec.passes.convert_to_lane import ConvertToLane, is_alias
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target

NETWORKS = ("efficientnet_b0", "yolo_small", "bert_base", "gpt2")

FUSED = Options(rewrite_algebra=False, fold_moves=False)
REWRITTEN = Options(fold_moves=False)
FULL = Options()


@dataclass(frozen=True)
class Row:
    """A network."""

    network: str
    imported: int
    """Ops on tensors as they are imported, without constants."""
    unfused: int
    """Ops before `fuse` that would each need a kernel, nothing rewritten or folded."""
    fused: int
    """Launches, with `rewrite_algebra` and `fold_moves` off."""
    rewritten: int
    """Launches, with `fold_moves` off."""
    full: int
    """Launches, with all passes."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def count_fusion(target: str, say: Callable[[str], None]) -> Iterator[Row]:
    """A row for each network."""
    machine = Target.parse(target, host_features)
    for name in NETWORKS:
        say(name)
        spec = model_spec(name)
        yield count_network(name, spec.build(), spec.example_input(), machine)


def count_network(
    name: str, model: torch_nn.Module, x: torch.Tensor, target: Target
) -> Row:
    """Import a network once for each set of options, and count."""
    imported = len(tensor_ops(import_model(model, x).module))
    unfused, fused = count_launches(model, x, target, FUSED)
    _, rewritten = count_launches(model, x, target, REWRITTEN)
    _, full = count_launches(model, x, target, FULL)
    return Row(name, imported, unfused, fused, rewritten, full)


def count_launches(
    model: torch_nn.Module, x: torch.Tensor, target: Target, options: Options
) -> tuple[int, int]:
    """Ops before `fuse` that would each need a kernel, and launches of the program."""
    imported = import_model(model, x)
    unfused = 0
    passes = tensor_passes(options, target)
    before = passes[[pass_.name for pass_ in passes].index("fuse") - 1]

    def look(pass_: ModulePass, module: ModuleOp) -> None:
        nonlocal unfused
        if pass_ is before:
            unfused = sum(not is_alias(op) for op in tensor_ops(module))

    records = run_passes(
        (*passes, ConvertToLane(lanes=target.lanes)),
        imported.ctx,
        imported.module,
        observer=look,
    )
    return unfused, records[-1].statistics["launches"]


def tensor_ops(module: ModuleOp) -> list[Operation]:
    """All ops on tensors but constants."""
    return [
        op
        for op in module.walk()
        if op.name.startswith(("nn.", "sq."))
        and not isinstance(op, nn.ConstantOp | sq.WeightOp)
    ]
