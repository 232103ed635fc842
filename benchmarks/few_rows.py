"""Layers of one row in few bits, which are bound by reading weights.

Stacks of linear layers, on bytes or in bfloat16, are measured against how fast the same
threads read memory; the acoustic model of the recurrent suite, with weights in
integers, against the best peer in float32.
"""

from __future__ import annotations

import importlib
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.engines import Setup, make_engines
from benchmarks.engines.edgec import EdgeC
from benchmarks.masks import is_anything, punch_model
from benchmarks.models import model_spec
from benchmarks.request import ENGINES
from benchmarks.results import WorkloadResult
from benchmarks.runner import Form, Workload
from edgec.compress import quantize

FEATURES = 4096
"""Inputs and outputs of each layer."""
LAYERS = {16: 4, 8: 8, 4: 16, 2: 16}
"""Bits → layers: 128 or 64 MB of weights, beyond the last cache of usual machines."""
INTEGERS = (8, 4, 2)
"""Bits of codes; 16 are bfloat16."""
STEP = 2**-5
"""Scale of the bytes between layers, whose numbers have a variance of about 1."""
ZERO_POINT = 128

MODEL, BLOCK, DENSITY = "gru_2x1024_frame", 16, 0.1
FORMATS = ("int8", "int4")


class ByteLinear(nn.Module):
    """Bytes times stored integers, in torch's quantized operators."""

    def __init__(self, bits: int, seed: int) -> None:
        super().__init__()
        importlib.import_module("torch.ao.quantization.fx._decomposed")
        generator = torch.Generator().manual_seed(seed)
        most = max(1, 2 ** (bits - 1) - 1)
        shape = (FEATURES, FEATURES)
        weight = torch.randint(
            -most, most + 1, shape, dtype=torch.int8, generator=generator
        )
        root = (most * (most + 1) / 3 * FEATURES) ** -0.5
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.full((FEATURES,), root))
        self.register_buffer("zero", torch.zeros(FEATURES, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Round to bytes, multiply."""
        ops = torch.ops.quantized_decomposed
        grid = (STEP, ZERO_POINT, 0, 255, torch.uint8)
        x = ops.dequantize_per_tensor(ops.quantize_per_tensor(x, *grid), *grid)
        arguments = (self.weight, self.scale, self.zero, 0, -128, 127, torch.int8)
        return nn.functional.linear(x, ops.dequantize_per_channel(*arguments))


def linear_workload(bits: int, setup: Setup) -> Workload:
    """Edgec alone on a stack of layers."""
    count = LAYERS[bits]
    x = torch.randn(1, FEATURES, generator=torch.Generator().manual_seed(0))
    if bits not in INTEGERS:
        torch.manual_seed(0)
        layers = (nn.Linear(FEATURES, FEATURES) for _ in range(count))
        options = setup.options(precision="bfloat16")
        engine = EdgeC("edgec", options, setup.target, is_float32=False)
        title = f"{count} linear {FEATURES}x{FEATURES}, bf16"
        return Workload(title, nn.Sequential(*layers).eval(), (x,), [engine])
    model = nn.Sequential(*(ByteLinear(bits, seed) for seed in range(count))).eval()
    engine = EdgeC("edgec", setup.options(), setup.target)
    title = f"{count} linear {FEATURES}x{FEATURES}, int{bits}"
    return Workload(
        title, model, (x,), [engine], forms={"edgec": Form(f"int{bits}", model)}
    )


def with_bandwidth(
    bits: int, result: WorkloadResult, read_per_s: float, threads: int
) -> WorkloadResult:
    """The result with what a stack reads per second, of what the threads read at most.

    Raises `ValueError` if it was not timed.
    """
    latency = result.engines[0].latency
    if latency is None:
        raise ValueError(f"{result.workload} was not timed")
    own = LAYERS[bits] * FEATURES * FEATURES * bits / 8 / latency.median_s
    line = (
        f"{result.workload}: {own / 1e9:.1f} of {read_per_s / 1e9:.1f} GB/s read by "
        f"{threads} threads: {own / read_per_s:.2f}"
    )
    figures = {
        "bytes_per_s": own,
        "most_bytes_per_s": read_per_s,
        "share_of_bandwidth": own / read_per_s,
    }
    return replace(result, notes=(*result.notes, line), figures=figures)


def recurrent_workload(weights: str, setup: Setup) -> Workload:
    """The pruned model in float32 for everybody, and its integers for edgec."""
    spec = model_spec(MODEL)
    model, x = spec.build(0), spec.example_input(0)
    punch_model(model, BLOCK, DENSITY, is_anything)
    program = quantize(model, [spec.example_input(1)], weights, "none")
    ours = EdgeC(f"edgec-{weights}", setup.options(), setup.target)
    names = ("torch", "edgec-sparse", *ENGINES[1:])
    return Workload(
        f"{MODEL}, blocks of {BLOCK} pruned to {DENSITY:g}, {weights}",
        model,
        (x,),
        [*make_engines(names, setup, is_pruned=True), ours],
        DENSITY,
        {ours.name: Form(weights, program.module(check_guards=False))},
    )
