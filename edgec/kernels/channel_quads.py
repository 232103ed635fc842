"""Channels of quads in another order: concatenations and slices of any channels.

A result's quad takes each byte from a quad of some input. Quads at equal distances that
do it alike, four channels further each, are a run: one loop for all of them. They are
neighbours in a concatenation, and as many apart as there are groups of channels that
are shuffled. Where a run's quads are quads of the input, these are copied; else bytes
are taken apart and packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xdsl.dialects import func
from xdsl.dialects.builtin import i32
from xdsl.ir import SSAValue

from edgec.dialects.lane import QUAD, buffer_type
from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.gaps import zero_gaps
from edgec.kernels.layout import Layout
from edgec.kernels.requantize import quad_of
from edgec.kernels.softmax import require_unphased
from edgec.kernels.sweep import for_points, for_vectors

Channel = tuple[int, int]
"""The number of an input, and a channel of it."""
Quad = tuple[Channel | None, ...]
"""The sources of four channels; None where there is no channel."""
MOST_APART = 8
"""Quads from one of a run to the next: the groups of common shuffles."""


@dataclass(frozen=True)
class Run:
    """`count` quads of the result, each `step` after the one before.

    The first one is made of `sources`.
    """

    begin: int
    count: int
    sources: Quad
    step: int = 1

    @property
    def is_copy(self) -> bool:
        """Whether quads of one input are moved as they are."""
        first = self.sources[0]
        if first is None or first[1] % QUAD:
            return False
        number, channel = first
        return self.sources == tuple((number, channel + k) for k in range(QUAD))


def runs_of(channels: Sequence[Channel]) -> list[Run]:
    """Which quads of a result with these channels are made alike; few runs."""
    padded: list[Channel | None] = [*channels, *[None] * (-len(channels) % QUAD)]
    quads = [tuple(padded[at : at + QUAD]) for at in range(0, len(padded), QUAD)]
    found = [_runs(quads, step) for step in range(1, MOST_APART + 1)]
    return min(found, key=len)


def _runs(quads: Sequence[Quad], step: int) -> list[Run]:
    """The runs of one distance, in the order of their first quads."""
    runs: list[Run] = []
    for first in range(min(step, len(quads))):
        last: Run | None = None
        for group in range(first, len(quads), step):
            quad = quads[group]
            if last is not None and quad == _later(last.sources, last.count):
                last = replace(last, count=last.count + 1)
                runs[-1] = last
            else:
                last = Run(group, 1, quad, step)
                runs.append(last)
    return runs


def _later(quad: Quad, groups: int) -> Quad:
    """The sources of a quad so many groups behind one, in a run."""
    return tuple(
        None if source is None else (source[0], source[1] + QUAD * groups)
        for source in quad
    )


@dataclass(frozen=True)
class ChannelQuads:
    """Channel `c` of the result is `channels[c]`; all have one scale and zero point.

    Layouts are of quads, have rank 4 or 5 and planes of one size. Raises `InvalidInput`
    for layouts with phases.
    """

    inputs: tuple[Layout, ...]
    output: Layout
    channels: tuple[Channel, ...]
    zero_point: int

    def __post_init__(self) -> None:
        require_unphased("moving channels of quads", *self.inputs, self.output)

    def build(self, name: str, lanes: int) -> func.FuncOp:
        """The kernel; buffers: x0, x1, …, y. Threads share the planes of each run."""
        places = {f"x{k}": place for k, place in enumerate(self.inputs)}
        places["y"] = self.output
        buffers = {key: buffer_type(each.elements, i32) for key, each in places.items()}
        b = KernelBuilder(name, buffers, lanes=lanes)
        for run in runs_of(self.channels):
            _Run(b, self, run).build()
        return b.finish()


@dataclass(frozen=True)
class _Run:
    """Builds the loops of one run."""

    b: KernelBuilder
    spec: ChannelQuads
    run: Run

    def build(self) -> None:
        """All planes of all images."""
        b, run = self.b, self.run
        images = self.spec.output.shape[0]

        def unit(number: SSAValue) -> None:
            self.plane(b.quotient(number, run.count), b.remainder(number, run.count))

        b.loop(*b.share(images * run.count), unit)

    def plane(self, n: Index, group: Index) -> None:
        """One plane of quads, number `group` of the run, and its gaps."""
        b, spec, run = self.b, self.spec, self.run
        found = dict.fromkeys(source for source in run.sources if source is not None)
        quads = list(dict.fromkeys((k, c // QUAD) for k, c in found))
        bases = {
            (k, first): self.base(spec.inputs[k], n, b.plus(group, first))
            for k, first in quads
        }
        place = b.plus(b.times(group, run.step), run.begin)
        to = self.base(spec.output, n, place)

        def row(point: Sequence[Index]) -> None:
            starts = {
                key: self.row(spec.inputs[key[0]], base, point)
                for key, base in bases.items()
            }
            at = self.row(spec.output, to, point)

            def vector(x: Index, offset: int, mask: SSAValue | None) -> None:
                loaded = {
                    key: b.load(
                        f"x{key[0]}", b.plus(start, x), offset=offset, mask=mask
                    )
                    for key, start in starts.items()
                }
                value = self.made(loaded)
                b.store(value, "y", b.plus(at, x), offset=offset, mask=mask)

            for_vectors(b, spec.output.shape[-1], b.lanes, vector)

        for_points(b, spec.output.shape[2:-1], row)
        gap = b.splat(b.integer(quad_of(spec.zero_point)))
        zero_gaps(b, "y", spec.output, n, place, gap)

    def made(self, loaded: dict[tuple[int, int], SSAValue]) -> SSAValue:
        """A vector of the result's quads."""
        b = self.b
        if self.run.is_copy:
            (value,) = loaded.values()
            return value
        parts = {key: b.unpack_quads(value) for key, value in loaded.items()}
        zero = b.splat(b.integer(self.spec.zero_point))
        return b.pack_quads(
            [
                zero
                if each is None
                else parts[each[0], each[1] // QUAD][each[1] % QUAD]
                for each in self.run.sources
            ]
        )

    def base(self, place: Layout, n: Index, group: Index) -> Index:
        """Where a plane begins."""
        b = self.b
        steps = b.times(n, place.strides[0]), b.times(group, place.strides[1])
        return b.plus(place.origin, *steps)

    def row(self, place: Layout, base: Index, point: Sequence[Index]) -> Index:
        """Where a row of a plane begins."""
        pairs = zip(point, place.strides[2:], strict=False)
        return self.b.plus(base, *(self.b.times(i, step) for i, step in pairs))
