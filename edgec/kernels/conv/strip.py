"""The input of one tile of a convolution, packed so that every load is aligned.

A tile is `rows` rows of one register, of neighbours or of bands. Per channel the strip
holds, for each row that the window reaches and for each column of the window, one
vector: the same input once per column offset. A tap then reads vectors at a fixed
distance, none of which crosses a cache line.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from edgec.kernels.builder import Index, KernelBuilder
from edgec.kernels.conv.bands import Bands
from edgec.kernels.conv.window import Window
from edgec.kernels.layout import Layout

CHANNELS_AHEAD = 3
"""Channels between the one that is packed and the one that is fetched."""


@dataclass(frozen=True)
class Reader:
    """Addresses of a tile's input.

    `base + offset + channel * c + taps[t] + row * r` for row `r`, tap `t`, channel `c`.
    """

    buffer: SSAValue
    base: Index
    offset: int
    channel: int
    row: int
    taps: tuple[int, ...]

    @property
    def lowest(self) -> int:
        """The most negative tap; table entries count from it, so that none is."""
        return min(self.taps)


class Strip:
    """Geometry of the strip of one channel; all numbers count elements."""

    def __init__(self, source: Layout, window: Window, rows: int, bands: Bands) -> None:
        self.source, self.window, self.bands = source, window, bands
        self.rows, self.lanes = rows, bands.lanes
        self.columns = window.kernel[1]
        steps = [window.step(0, k) for k in range(window.kernel[0])]
        self._first: dict[int, int] = {}
        self._start: dict[int, int] = {}
        self._packed_rows: list[tuple[int, int]] = []
        for phase in sorted({phase for phase, _ in steps}):
            distances = [d for p, d in steps if p == phase]
            self._first[phase] = min(distances)
            self._start[phase] = len(self._packed_rows)
            for distance in range(min(distances), max(distances) + rows):
                self._packed_rows.append((phase, distance))
        self.row = self.columns * self.lanes
        self.channel = len(self._packed_rows) * self.row

    def tap(self, position: int) -> int:
        """Offset of a window position in the strip of its channel."""
        ky, kx = divmod(position, self.window.kernel[1])
        phase, distance = self.window.step(0, ky)
        row = self._start[phase] + distance - self._first[phase]
        return (row * self.columns + kx) * self.lanes

    @property
    def taps(self) -> tuple[int, ...]:
        """`tap` of every window position."""
        return tuple(
            self.tap(p) for p in range(self.window.kernel[0] * self.window.kernel[1])
        )

    def direct(self, b: KernelBuilder, place: Index) -> Reader:
        """Read the source itself.

        `place` is the tile's position in its first channel.
        """
        source = self.source
        return Reader(
            b["x"],
            place,
            source.origin,
            source.strides[1],
            source.pitch,
            self.window.tap_offsets(source),
        )

    def pack(
        self, b: KernelBuilder, place: Index, count: Index, memory: SSAValue
    ) -> Reader:
        """Copy `count` channels to `memory`."""
        source = self.source

        def channel(_: SSAValue, x_at: SSAValue, s_at: SSAValue) -> list[SSAValue]:
            self._fetch_ahead(b, x_at)
            for number, (phase, distance) in enumerate(self._packed_rows):
                for kx in range(self.columns):
                    phase_x, dx = self.window.step(1, kx)
                    plane = (phase * self.window.stride[1] + phase_x) * source.plane
                    offset = source.origin + plane + distance * source.pitch + dx
                    pitch = source.pitch
                    value = self.bands.load(b, "x", x_at, offset=offset, pitch=pitch)
                    to = (number * self.columns + kx) * self.lanes
                    b.store(value, memory, s_at, offset=to)
            return [
                b.value(b.plus(x_at, source.strides[1])),
                b.value(b.plus(s_at, self.channel)),
            ]

        b.loop(0, count, channel, carried=[b.value(place), b.value(0)])
        return Reader(memory, 0, 0, self.channel, self.row, self.taps)

    def _fetch_ahead(self, b: KernelBuilder, x_at: SSAValue) -> None:
        """Ask for the rows of a later channel: planes are too far apart to guess."""
        source = self.source
        for phase, distance in self._packed_rows:
            plane = phase * self.window.stride[1] * source.plane
            row = source.origin + plane + distance * source.pitch
            lines = (0, self.lanes) if self.bands.count == 1 else (0,)
            for start in self.bands.starts:
                for line in lines:
                    ahead = CHANNELS_AHEAD * source.strides[1]
                    offset = row + line + start * source.pitch + ahead
                    b.prefetch("x", x_at, offset=offset)
