"""Families and layouts for whole networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser

from benchmarks.models import model_spec
from edgec.context import EdgecContext
from edgec.dialects import sq
from edgec.importer import import_model
from edgec.kernels.cost import Registers
from edgec.options import Options
from edgec.passes.analysis import choices
from edgec.passes.analysis.choices import choose
from edgec.passes.analysis.predict import families_of, predict_linear
from edgec.passes.base import run_pass
from edgec.passes.layout_tuning import LayoutTuning
from edgec.pipeline import run_passes, tensor_passes
from edgec.target import Target
from edgec.tools.opt import EdgecOpt

TARGET = Target.parse("x86-64-v4")
PASSES = tensor_passes(Options(), TARGET)
TUNING = next(pass_ for pass_ in PASSES if isinstance(pass_, LayoutTuning))


def before_layouts(
    model: torch.nn.Module, x: torch.Tensor
) -> tuple[EdgecContext, ModuleOp]:
    imported = import_model(model, (x,))
    run_passes(PASSES[: PASSES.index(TUNING)], imported.ctx, imported.module)
    return imported.ctx, imported.module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parted"),
    [
        ("resnet50_features", True),
        ("densenet121", True),
        ("mobilenet_v2", False),
        ("vgg16_features", False),
        ("unet", True),
    ],
)
def test_networks_are_predicted_no_slower_than_at_one_pitch(
    name: str, parted: bool
) -> None:
    spec = model_spec(name)
    ctx, module = before_layouts(spec.build(), spec.example_input())
    cycles: list[int] = []
    for separate in (True, False):
        counts = run_pass(replace(TUNING, separate=separate), ctx, module.clone())
        assert bool(counts["separated"]) == (separate and parted)
        cycles.append(counts["layer_cycles"] + counts["conversion_cycles"])
    assert cycles[0] < cycles[1] if parted else cycles[0] == cycles[1]


def test_a_residual_network_is_solved_exactly() -> None:
    spec = model_spec("resnet18")
    _, module = before_layouts(spec.build(), spec.example_input())
    registers = Registers(TARGET.lanes, TARGET.registers)

    def chosen(layer: choices.Layer) -> list[str]:
        return ["dense"] if layer.kernel is None else [layer.kernel.family.data]

    assert choose(module, registers, TARGET.l1d_bytes, chosen).is_exact


def test_linear_layers_pass_on_columns() -> None:
    """By itself a layer may not be worth turning; between two that are it is."""
    columns = "#sq.columns<block = 8, columns = 24, reordered = true>"
    layer = """
  %w{0} = sq.weight {{index = "i", offset = "o", reorder = "r", weight = "w"}}
    : tensor<64x64xf32, {1}>
  %{2} = sq.linear %{0}, %w{0} {{epilogue = []}} : tensor<196x64xf32>,
    tensor<64x64xf32, {1}> -> tensor<196x64xf32>"""
    body = "".join(layer.format(k, columns, k + 1) for k in range(3))
    body = body.replace("%0", "%x") + "  func.return %3 : tensor<196x64xf32>"
    head = "func.func @main(%x: tensor<196x64xf32>) -> tensor<196x64xf32>"
    module = Parser(EdgecOpt([]).ctx, f"{head} {{{body}}}").parse_module()
    registers = Registers(TARGET.lanes, TARGET.registers)
    for op in module.walk():
        if isinstance(op, sq.LinearOp):
            alone = predict_linear(op, registers)
            assert alone["dense"] < alone["conv"]
    together = choose(module, registers, TARGET.l1d_bytes, families_of)
    assert set(together.families.values()) == {"conv"}
