"""No access outside of memory: inputs, outputs, arena, scratch and weights end at
forbidden pages while compiled models run. A process of its own runs them, as one byte
too far kills it.

Workspaces are guarded through the allocators of `edgec.runtime`. The arena's own
padding, which kernels may read, is part of the arena.
"""

from __future__ import annotations

import signal

import pytest

from edgec.target import Target
from tests.guard import run_guarded
from tests.lanes import runnable_targets

_SCRIPT = """
import sys
import numpy as np
import torch
from torch import nn
torch.set_num_threads(1)
import edgec.compiled, edgec.driver
from edgec.compress import prune
from edgec.options import Options
from edgec.runtime import buffers, executable
from tests.guard import guarded_copy, guarded_zeros
from tests.importing import sample
from tests.networks import NETWORKS, TOLERANCE, USUAL, network

side = "end"
slack = largest = 0


def zeros(size):
    # The arena is the largest one. Code may count on the alignment of its end too.
    size -= slack * (size == largest)
    return guarded_zeros((-(-size // 64) * 64,), np.uint8, side)


def empty(shape, dtype):
    return guarded_zeros(shape, dtype, side)


buffers.aligned_zeros = zeros
executable.aligned_empty = empty
# Weights too: every one is copied to guarded memory, as if it were not aligned.
executable._aligned = lambda array: guarded_copy(array, side)


def check(model, x, tolerance=USUAL, sparsity="auto"):
    global largest, side
    options = Options(use_cache=False, verify=False, sparsity=sparsity)
    artefact = edgec.driver.build(model, x, target=sys.argv[1], options=options)
    largest = artefact.program.arena_bytes
    with torch.no_grad():
        expected = model(x)
    for side, threads in (("end", 1), ("end", 3), ("begin", 2)):
        compiled = edgec.compiled.CompiledModel(artefact, threads)
        found = compiled(guarded_copy(x.numpy(), side))
        pairs = zip(found, expected) if type(found) is tuple else [(found, expected)]
        for mine, theirs in pairs:
            limit = tolerance * float(theirs.abs().max())
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=0, atol=limit)
"""

_NETWORKS = """
for name in NETWORKS:
    print(name, flush=True)
    check(*network(name), TOLERANCE.get(name, USUAL))
"""

_CONVOLUTIONS = """
class Parallel(nn.ModuleList):
    def forward(self, x):
        return tuple(layer(x) for layer in self)

def conv(*shape):
    return nn.Conv2d(5, 7, *shape)

for size in ((1, 1), (1, 7), (9, 17)):
    x = sample(2, 5, *size)
    shapes = ((3, 1, 1), (3, 2, 1), (1, 1, 0), (5, 2, 2))
    print(size, flush=True)
    check(Parallel(conv(*shape) for shape in shapes), x)
    pruned = nn.Sequential(nn.Conv2d(5, 9, 3, padding=1), nn.ReLU())
    prune(pruned, "pattern", density=0.2, skip_first=False)
    check(pruned, x, sparsity="always")
"""

_VOLUMES = """
class Parallel(nn.ModuleList):
    def forward(self, x):
        return tuple(layer(x) for layer in self)

def sparse(layer):
    keep = torch.rand(3, 1, *layer.weight.shape[1:]) < 0.2
    layer.weight.data *= keep.expand(-1, 3, -1, -1, -1, -1).flatten(0, 1)
    return layer

for size in ((1, 1, 1), (2, 1, 7), (3, 5, 17)):
    x = sample(2, 5, *size)
    shapes = ((3, 1, 1), (3, 2, 1), (1, 1, 0), (5, 2, 2), ((3, 1, 3), (2, 1, 3), 1))
    print(size, flush=True)
    check(Parallel(nn.Conv3d(5, 7, *shape) for shape in shapes), x)
    check(Parallel(nn.Conv3d(5, 5, *shape, groups=5) for shape in shapes), x)
    pruned = Parallel(sparse(nn.Conv3d(5, 9, *shape)) for shape in shapes)
    check(pruned, x, sparsity="always")
"""

_TOO_SHORT = """
slack = 1024
check(*network("plain"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "body", [_NETWORKS, _CONVOLUTIONS, _VOLUMES], ids=["nets", "convs", "volumes"]
)
@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
def test_no_access_outside_of_memory(target: Target, body: str) -> None:
    result = run_guarded(_SCRIPT + body, target.name)
    assert result.returncode == 0, f"after {result.stdout}: {result.stderr}"


def test_the_guard_notices() -> None:
    assert run_guarded(_SCRIPT + _TOO_SHORT, "native").returncode == -signal.SIGSEGV
