"""The report of formats that were chosen: what was expected, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.utils._pytree as pytree
from torch.export import ExportedProgram

from edgec.compress.quantization.assembly import Assembled, Setup
from edgec.compress.quantization.batches import Arguments
from edgec.compress.quantization.report import QuantizeReport
from edgec.compress.quantization.sensitivity import (
    Results,
    relative_error,
    results_of,
)


def explained(
    found: Assembled, setup: Setup, reasons: Mapping[str, tuple[float, str]]
) -> QuantizeReport:
    """The report with sensitivities and reasons, by names of layers; both errors."""
    rows = [
        row
        if row.name not in reasons
        else replace(
            row,
            sensitivity=reasons[row.name][0],
            note="; ".join(filter(None, (reasons[row.name][1], row.note))),
        )
        for row in found.report.layers
    ]
    with torch.no_grad():
        wanted = results_of(setup.network, setup.batches)
        measured = relative_error(wanted, _results(found.program, setup.batches))
    return replace(
        found.report,
        layers=tuple(rows),
        expected_error=sum(error for error, _ in reasons.values()),
        measured_error=measured,
    )


def _results(program: ExportedProgram, batches: Sequence[Arguments]) -> Results:
    """What a program gives."""
    module = program.module()
    return [
        [
            leaf
            for leaf in pytree.tree_leaves(module(*args, **kwargs))
            if isinstance(leaf, torch.Tensor)
        ]
        for args, kwargs in batches
    ]
