"""The programs in docs/tutorial.md are what the compiler makes today."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import torch
from xdsl.dialects.builtin import ModuleOp

from edgec.compress import prune
from edgec.importer import import_model
from edgec.passes import PASSES, get_pass
from edgec.passes.base import run_pass

MAX_LINES = 60

STEPS = ("fold-batch-norm",)
"""Passes in the order of the pipeline; those that change nothing are left out."""


def shortened(module: ModuleOp) -> str:
    # Where in torch an op comes from changes with torch's version.
    text = re.sub(r'nn\.source = "[^"]*"(, )?', "", str(module)).replace(" {}", "")
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], f"// … {len(lines) - MAX_LINES} more lines"]
    return "\n".join(lines)


def sections() -> Iterator[str]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
    ).eval()
    prune(model, "pattern", density=0.25, skip_first=False)
    imported = import_model(model, torch.zeros(1, 4, 8, 8))
    module = imported.module
    yield f"### Imported\n\n```text\n{shortened(module)}\n```\n"
    for name in STEPS:
        before = module.clone()
        statistics = run_pass(get_pass(name)(), imported.ctx, module)
        module.verify()
        if not module.is_structurally_equivalent(before):
            counts = ", ".join(f"{key} = {count}" for key, count in statistics.items())
            page = f"passes/{name.replace('-', '_')}.md"
            yield (
                f"### [{name}]({page})\n\nIt reports: {counts}.\n\n"
                f"```text\n{shortened(module)}\n```\n"
            )


def test_the_programs_are_up_to_date(golden: Callable[[str, str], None]) -> None:
    golden("tutorial/steps.md", "\n".join(sections()))


def test_the_steps_exist() -> None:
    assert set(STEPS) <= set(PASSES)
