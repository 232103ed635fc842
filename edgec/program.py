"""From a tensor-level module to native code: kernels, emission, object cache.

A compiled program is stored under a hash of the tensor-level module, the target, the
options and the compiler's own code: with these equal, the code is equal. Weights are
not part of it; they are packed anew in each process.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.dialects.func import FuncOp
from xdsl.ir import Block

from edgec import codegen, dialects, kernels, passes, pipeline
from edgec.codegen.cache import ObjectCache, cache_key
from edgec.codegen.emit import emit_module
from edgec.codegen.jit import compile_object
from edgec.context import EdgecContext
from edgec.dialects import lane
from edgec.options import Options
from edgec.passes.convert_to_lane import bind_weights, weight_uses
from edgec.pipeline import Observer, PassRecord, kernel_passes, run_passes
from edgec.target import Target

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel."""

    layer: str
    kernel: str


@dataclass(frozen=True)
class Program:
    """Native code of a model, and what it needs to run."""

    code: bytes
    """An object file that exports `edgec_entry`."""
    weight_names: tuple[str, ...]
    """The arrays of the weight table, in order."""
    weight_uses: tuple[str, ...]
    """`edgec.passes.convert_to_lane.weight_uses`: what the code takes for granted."""
    arena_bytes: int
    live_bytes: int
    """The largest set of activations that live at one time."""
    scratch_bytes_per_thread: int
    launches: tuple[Launch, ...]
    statistics: Mapping[str, Mapping[str, int]]
    """What each kernel-level pass reported."""

    def to_bytes(self) -> bytes:
        """For the cache: a JSON header, then the code."""
        fields = asdict(self)
        del fields["code"]
        header = json.dumps(fields, sort_keys=True).encode()
        return len(header).to_bytes(_LENGTH_BYTES, "little") + header + self.code

    @classmethod
    def from_bytes(cls, content: bytes) -> Program:
        """The inverse of `to_bytes`."""
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        end = _LENGTH_BYTES + length
        fields: dict[str, Any] = json.loads(content[_LENGTH_BYTES:end])
        for name in ("weight_names", "weight_uses"):
            fields[name] = tuple(fields[name])
        fields["launches"] = tuple(Launch(**entry) for entry in fields["launches"])
        return cls(code=content[end:], **fields)


@dataclass(frozen=True)
class Built:
    """A program and how it came about."""

    program: Program
    is_cached: bool
    records: tuple[PassRecord, ...]
    """Kernel-level passes that ran; none if the program came from the cache."""


def build_program(
    module: ModuleOp,
    ctx: EdgecContext,
    target: Target,
    options: Options,
    objects: ObjectCache | None,
    observer: Observer | None = None,
) -> Built:
    """Compile a tensor-level module, or find it compiled; packs weights into `ctx`."""
    what = f"{module}\nshare_loads={options.share_loads}\n{_sources()}"
    key = cache_key(what, target, 3)
    stored = objects.read(key) if objects is not None and observer is None else None
    if stored is not None:
        program = Program.from_bytes(stored)
        if bind_weights(module, ctx, target.lanes) == program.weight_uses:
            return Built(program, is_cached=True, records=())
    records = run_passes(
        kernel_passes(options, target),
        ctx,
        module,
        verify=options.verify,
        observer=observer,
    )
    emitted = emit_module(module, target)
    program = Program(
        code=compile_object(emitted.text, target),
        weight_names=emitted.weight_names,
        weight_uses=weight_uses(_main_block(module)),
        arena_bytes=emitted.arena_bytes,
        live_bytes=_live_bytes(module),
        scratch_bytes_per_thread=emitted.scratch_bytes_per_thread,
        launches=_launches(module),
        statistics={record.name: dict(record.statistics) for record in records},
    )
    if objects is not None:
        objects.write(key, program.to_bytes())
    return Built(program, is_cached=False, records=records)


@cache
def _sources() -> str:
    """A hash of the code that makes code: an edited compiler meets no old objects."""
    state = hashlib.blake2b(digest_size=16)
    for package in (codegen, dialects, kernels, passes):
        for path in sorted(Path(package.__path__[0]).resolve().rglob("*.py")):
            state.update(path.read_bytes())
    for path in (Path(__file__), Path(pipeline.__file__)):
        state.update(path.read_bytes())
    return state.hexdigest()


def _main_block(module: ModuleOp) -> Block:
    """The launches of a lowered module."""
    functions = (op for op in module.ops if isinstance(op, FuncOp))
    return next(op.body.block for op in functions if op.sym_name.data == "main")


def _live_bytes(module: ModuleOp) -> int:
    attribute = module.attributes["edgec.live_bytes"]
    assert isinstance(attribute, IntegerAttr)
    return attribute.value.data


def _launches(module: ModuleOp) -> tuple[Launch, ...]:
    return tuple(
        Launch(
            op.layer.data if op.layer else op.callee.string_value(),
            op.callee.string_value(),
        )
        for op in module.walk()
        if isinstance(op, lane.LaunchOp)
    )
