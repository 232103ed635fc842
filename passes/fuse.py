"""Fuse elementwise ops into the products before them.

What: chains of elementwise ops become the epilogue of the product that starts them, or
one op of their own.

Why: an activation by itself reads and writes a whole tensor for a few flops per
element; as an epilogue it works on the register block that the product has just
finished. MobileNetV2 has 35 activations and 10 residual sums: 45 trips through memory
less.

How: one walk forward. A product starts a chain. An elementwise op joins the chain that
ends in one of its operands if nobody else reads that operand and the result has its
shape. Its other operand becomes an extra operand, which must have the same shape or
hold one number per channel (per column of a linear layer); the latter is brought to one
form. Where two chains end in one sum, the later product takes it. Elementwise ops that
find no chain start one; its extra operands, and those of a matrix product, may
broadcast in any way. A chain becomes one op at the place of its last member, where all
its operands are known. Whether an op may join is asked of the table of mapping types
(`analysis.mapping`): an elementwise op may always, products never join each other (both
are many-to-many). What else the table allows is not done here: no kernel computes on
what it reads, and ops of movement are folded by `eliminate-data-movement`.

An `sq.conv` or `sq.linear` on integers starts a chain too and ends with the
`sq.quantize` behind it. The convolution reads what an extra operand is dequantized
from, the linear layer too if it ends so. So do chains without a product, if their
operands have the shape of the result or one number per channel; those on matrices if
they end in bytes.

Invariants: needs `nn` and weights of any encoding. Leaves no f32 `nn.conv`,
`nn.linear`, `nn.matmul`, `nn.unary` or `nn.binary`. Other element types are left alone.

Source: Niu et al., "DNNFusion: Accelerating Deep Neural Networks Execution with
Advanced Operator Fusion" (PLDI 2021), section 3 (see `analysis.mapping`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, f32
from xdsl.ir import Block, Operation, SSAValue

from edgec.context import WeightStore, weights_of
from edgec.dialects import nn, sq
from edgec.dialects.shapes import Shape
from edgec.passes.analysis.chains import (
    Chain,
    Head,
    Pointwise,
    pad_rank,
)
from edgec.passes.analysis.mapping import MappingType, mapping_type
from edgec.passes.base import ReportingPass
from edgec.passes.constants import (
    constant_name,
    erase_unused,
    make_constant,
    read_constant,
)
from edgec.passes.patterns.rewriting import copy_labels

STATISTICS = (
    "ops_before",
    "ops_after",
    "conv_steps",
    "linear_steps",
    "matmul_steps",
    "elementwise_steps",
)

Fused = sq.ConvOp | sq.LinearOp | sq.MatmulOp | sq.ElementwiseOp


def start_chain(op: Head | Pointwise, position: int) -> Chain:
    """A chain with one member."""
    if isinstance(op, Head):
        return Chain(op, position, op, mapping_type(op))
    chain = Chain(op, position, op, MappingType.ONE_TO_ONE)
    chain.start = main_operand(op)
    chain.append(op, chain.start)
    return chain


def main_operand(op: Pointwise) -> int:
    """The operand that has the shape of the result, if possible not a constant."""
    result = nn.shape_of(op.result)

    def fitness(index: int) -> tuple[bool, bool]:
        value = op.operands[index]
        is_constant = isinstance(value.owner, nn.ConstantOp)
        return (nn.shape_of(value) == result, not is_constant)

    return max(range(len(op.operands)), key=fitness)


def find_chains(block: Block) -> list[Chain]:
    """All chains of a block, in the order of their heads. Changes nothing."""
    chains: list[Chain] = []
    ends: dict[SSAValue, Chain] = {}
    for position, op in enumerate(block.ops):
        if isinstance(op, sq.QuantizeOp) and op.input in ends:
            ends[op.input].end(op)
        if not isinstance(op, Head | Pointwise) or not _is_open(op):
            continue
        chain = None
        if isinstance(op, Pointwise):
            joinable = [ends[value] for value in op.operands if value in ends]
            accepting = [one for one in joinable if one.accepts(op)]
            chain = max(accepting, key=lambda one: one.rank, default=None)
        if chain is None:
            chain = start_chain(op, position)
            chains.append(chain)
        else:
            assert isinstance(op, Pointwise)
            chain.append(op, list(op.operands).index(chain.last.results[0]))
        ends[op.result] = chain
    return chains


def _is_open(op: Operation) -> bool:
    """Whether this pass may fuse it: f32, or integers without an epilogue yet."""
    if isinstance(op, sq.ConvOp | sq.LinearOp):
        is_single = (
            not op.epilogue.data and nn.tensor_type(op.result).element_type == f32
        )
        return is_single and sq.has_integers(op.weight)
    values = (*op.operands, *op.results)
    return all(nn.tensor_type(value).element_type == f32 for value in values)


def fuse_chain(chain: Chain, weights: WeightStore) -> Fused:
    """Replace the ops of a chain by one, and return that one."""
    chain.take_bytes()
    last = chain.last
    values = [extra.value for extra in chain.extras]
    extras = [
        _adapt(value, extra.form, last, weights)
        for value, extra in zip(values, chain.extras, strict=True)
    ]
    if chain.is_integer and not chain.steps and chain.quantize is None:
        assert isinstance(chain.head, sq.ConvOp | sq.LinearOp)
        return chain.head
    fused = _build(chain, extras)
    _insert_before(fused, last)
    fused.result.name_hint = last.results[0].name_hint
    last.results[0].replace_all_uses_with(fused.result)
    head = [chain.head] if isinstance(chain.head, Head) else []
    end = [] if chain.quantize is None else [chain.quantize]
    readers = [x.op.operands[x.operand].owner for x in chain.extras if x.in_bytes]
    if chain.reads_bytes and chain.start is not None:
        readers.append(chain.head.operands[chain.start].owner)
    for op in reversed([*head, *chain.tail, *end]):
        op.detach()
        op.erase()
    for op in dict.fromkeys(readers):
        if isinstance(op, sq.DequantizeOp) and not op.result.first_use:
            op.detach()
            op.erase()
    erase_unused(*values)
    return fused


def _adapt(
    value: SSAValue, form: Shape, place: Operation, weights: WeightStore
) -> SSAValue:
    """`value` in the shape `form`; new ops stand before `place`."""
    shape = nn.shape_of(value)
    if shape == form:
        return value
    padded = pad_rank(shape, len(form))
    assert padded is not None
    array = read_constant(value, weights)
    if array is not None:
        array = np.ascontiguousarray(np.broadcast_to(array.reshape(padded), form))
        hint = f"{constant_name(value)}.per_channel"
        return _insert_before(make_constant(array, hint, value, weights), place)
    if padded != shape:
        value = _insert_before(nn.ReshapeOp(value, padded), place)
    if form != padded:
        value = _insert_before(nn.BroadcastOp(value, form), place)
    return value


def _insert_before(op: Operation, place: Operation) -> SSAValue:
    block = place.parent
    assert block is not None
    block.insert_op_before(op, place)
    return op.results[0]


def _build(chain: Chain, extras: Sequence[SSAValue]) -> Fused:
    """The op that a chain becomes, with the attributes of its head."""
    head, type_ = chain.head, chain.last.results[0].type
    match head:
        case nn.ConvOp() | sq.ConvOp():
            fused = sq.ConvOp(
                head.input,
                head.weight,
                head.bias,
                extras,
                head.properties,
                chain.steps,
                type_,
            )
            fused.attributes.update(head.attributes)
        case nn.LinearOp() | sq.LinearOp():
            fused = sq.LinearOp(
                head.input, head.weight, head.bias, extras, chain.steps, type_
            )
            fused.attributes.update(head.attributes)
        case nn.MatmulOp():
            fused = sq.MatmulOp(head.lhs, head.rhs, extras, chain.steps, type_)
            fused.attributes.update(head.attributes)
        case _:
            assert chain.start is not None
            start = head.operands[chain.start]
            if chain.reads_bytes:
                assert isinstance(start.owner, sq.DequantizeOp)
                start = start.owner.input
            fused = sq.ElementwiseOp(start, extras, chain.steps, type_)
            copy_labels(head, fused)
    return fused


@dataclass(frozen=True)
class Fuse(ReportingPass):
    """Fuse elementwise ops into the products before them.

    **Before**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>,
        %gate: tensor<1x2x1x1xf32>) -> tensor<1x2x4x4xf32> {
      %y = nn.conv %x, %w {stride = array<i64: 1, 1>,
        padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>,
        dilation = array<i64: 1, 1>, groups = 1 : i64}
        : (tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32>) -> tensor<1x2x4x4xf32>
      %s = nn.binary add %x, %y
        : (tensor<1x2x4x4xf32>, tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
      %r = nn.unary relu %s : (tensor<1x2x4x4xf32>) -> tensor<1x2x4x4xf32>
      %h = nn.unary hardsigmoid %gate
        : (tensor<1x2x1x1xf32>) -> tensor<1x2x1x1xf32>
      %z = nn.binary mul %r, %h
        : (tensor<1x2x4x4xf32>, tensor<1x2x1x1xf32>) -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```

    **After**

    ```mlir
    func.func @main(%x: tensor<1x2x4x4xf32>, %w: tensor<2x2x1x1xf32>,
        %gate: tensor<1x2x1x1xf32>) -> tensor<1x2x4x4xf32> {
      %h = sq.elementwise %gate {epilogue = [#sq.step<"hardsigmoid">]}
        : tensor<1x2x1x1xf32> -> tensor<1x2x1x1xf32>
      %z = sq.conv %x, %w
        extras(%x, %h : tensor<1x2x4x4xf32>, tensor<1x2x1x1xf32>)
        {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>,
        padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>,
        groups = 1 : i64, epilogue = [#sq.step<"add", operand = 0, swap>,
        #sq.step<"relu">, #sq.step<"mul", operand = 1>]}
        : tensor<1x2x4x4xf32>, tensor<2x2x1x1xf32> -> tensor<1x2x4x4xf32>
      func.return %z : tensor<1x2x4x4xf32>
    }
    ```
    """

    name = "fuse"

    def run(self, ctx: Context, op: ModuleOp) -> Mapping[str, int]:
        """Return `ops_before`, `ops_after` and the steps of each kind of op."""
        weights = weights_of(ctx)
        counts: dict[str, int] = dict.fromkeys(STATISTICS, 0)
        for block in _blocks(op):
            for chain in find_chains(block):
                kind = fuse_chain(chain, weights).name.removeprefix("sq.")
                counts[f"{kind}_steps"] += len(chain.steps)
                counts["ops_before"] += len(chain.steps)
                counts["ops_before"] += isinstance(chain.head, Head)
                counts["ops_after"] += 1
        return counts


def _blocks(module: ModuleOp) -> Iterator[Block]:
    """The blocks of all functions."""
    for op in module.ops:
        for region in op.regions:
            yield from region.blocks
