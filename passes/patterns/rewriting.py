"""How the passes on tensors walk and rewrite; small questions about values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern
from xdsl.traits import Pure

from edgec.dialects import nn, sq

OpT = TypeVar("OpT", bound=Operation)

LABELS = ("nn.path", "nn.source")
"""Attributes that say where in the model an op comes from."""


def rewrite_once(
    module: ModuleOp, patterns: Mapping[str, RewritePattern]
) -> dict[str, int]:
    """Offer each op to the patterns, once and in order; rewrites by pattern's name.

    An op that one pattern rewrote is not offered to the others, and neither are ops
    made on the way. Unlike xDSL's walker it is linear and lets `EdgecError` through.
    """
    counts = dict.fromkeys(patterns, 0)
    for op in list(module.walk()):
        if op.parent is None:
            continue  # the module itself, or an op that was erased on the way
        rewriter = PatternRewriter(op)
        for name, pattern in patterns.items():
            pattern.match_and_rewrite(op, rewriter)
            if rewriter.has_done_action:
                counts[name] += 1
                break
    return counts


def erase_dead(module: ModuleOp) -> int:
    """Remove ops without effect whose results nobody uses; how many."""
    count = 0
    for op in reversed(list(module.walk())):
        is_used = any(result.first_use for result in op.results)
        if op.has_trait(Pure) and not is_used:
            op.detach()
            op.erase()
            count += 1
    return count


def producer(value: SSAValue, kind: type[OpT]) -> OpT | None:
    """The op of type `kind` that makes `value`, if there is one."""
    op = value.owner
    return op if isinstance(op, kind) else None


def sole_producer(value: SSAValue, kind: type[OpT]) -> OpT | None:
    """Like `producer`, and `value` has one use only: that op may be changed."""
    return producer(value, kind) if value.has_one_use() else None


def copy_labels(source: Operation, *targets: Operation) -> None:
    """Say that `targets` come from the same place in the model as `source`.

    Constants say so by their names.
    """
    for name in LABELS:
        if name in source.attributes:
            for target in targets:
                if not isinstance(target, nn.ConstantOp):
                    target.attributes.setdefault(name, source.attributes[name])


def replace(
    rewriter: PatternRewriter, op: Operation, new_ops: Sequence[Operation]
) -> None:
    """Put `new_ops` in the place of `op`, the last one for its result, labelled."""
    copy_labels(op, *new_ops)
    for new_op in new_ops:
        if not isinstance(new_op, nn.ConstantOp):
            new_op.results[0].name_hint = op.results[0].name_hint
    rewriter.insert(new_ops)
    rewriter.replace(op, [], new_ops[-1].results)


def quantized_alone(
    result: SSAValue,
) -> tuple[Operation | None, sq.QuantType | None]:
    """The quantize op that alone reads a result, and the type that it gives."""
    if not result.has_one_use():
        return None, None
    reader = next(iter(result.uses)).operation
    if not isinstance(reader, sq.QuantizeOp):
        return None, None
    type_ = sq.quant_type(reader.result)
    assert type_ is not None
    return (None, None) if type_.numbers is None else (reader, type_)


def replace_with_end(
    op: Operation, new: Sequence[Operation], end: Operation | None
) -> None:
    """Put ops in the place of `op`, and of the one that ends it, if there is one."""
    block = op.parent
    assert block is not None
    block.insert_ops_before(list(new), op)
    last = op if end is None else end
    new[-1].results[0].name_hint = last.results[0].name_hint
    last.results[0].replace_all_uses_with(new[-1].results[0])
    for each in (end, op):
        if each is not None:
            each.detach()
            each.erase()
