"""What was measured: statistics and their form as JSON."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

ALL_BUT = "all but "
"""How the name of a row begins where one option is off alone."""


@dataclass(frozen=True)
class Latency:
    """Times of one call, in seconds."""

    median_s: float
    low_s: float
    """First quartile."""
    high_s: float
    """Third quartile."""
    p95_s: float
    min_s: float
    calls: int
    """Timed calls, over all rounds."""
    rounds_s: tuple[float, ...]
    """The median of each round, in order: engines can be compared round by round."""

    @classmethod
    def of(cls, times: Sequence[Sequence[float]]) -> Latency:
        """Sum up the times of each round; there must be at least one."""
        sample = [each for turn in times for each in turn]
        low, high, p95 = np.percentile(sample, (25, 75, 95))
        return cls(
            median_s=statistics.median(sample),
            low_s=float(low),
            high_s=float(high),
            p95_s=float(p95),
            min_s=min(sample),
            calls=len(sample),
            rounds_s=tuple(statistics.median(turn) for turn in times),
        )


@dataclass(frozen=True)
class EngineResult:
    """One row: skipped with a reason, failed with a reason, or measured."""

    engine: str
    is_own: bool
    is_float32: bool
    version: str | None
    skipped: str | None = None
    failed: str | None = None
    error: float | None = None
    """Largest difference from torch eager over its largest output."""
    prepare_s: float | None = None
    """Seconds to build what is called; files may come from an earlier run."""
    latency: Latency | None = None
    """None unless the engine was timed."""
    form: str = "float"
    """The weights of what it ran: those of the model, or quantized to this format."""

    def does_the_job_of(self, other: EngineResult) -> bool:
        """Whether it ran what another one ran, in float32 where that one did."""
        is_exact = self.is_float32 or not other.is_float32
        return self.form == other.form and (is_exact or self.form != "float")


@dataclass(frozen=True)
class Ratio:
    """How much longer another engine takes than edgec; above 1 edgec is faster.

    A round has every engine once, within seconds; a machine that is slower for a while
    changes times, but hardly the ratios of a round.
    """

    ratio: float
    """Median of the ratios of each round's medians."""
    low: float
    """First quartile of the same."""
    high: float
    """Third quartile of the same."""


@dataclass(frozen=True)
class WorkloadResult:
    """One table."""

    workload: str
    density: float | None
    """Asked of `prune`; None if nothing was pruned."""
    input_shapes: tuple[tuple[int, ...], ...]
    engines: tuple[EngineResult, ...]
    notes: tuple[str, ...] = ()
    """What else there is to know."""
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers of the notes, by name."""

    def own(self) -> EngineResult | None:
        """The row that others are compared with: the last of edgec that was timed.

        Suites put the plain one first and the one with everything on last.
        """
        rows = [e for e in self.engines if e.is_own and e.latency is not None]
        return rows[-1] if rows else None

    def ratio(self, row: EngineResult) -> Ratio | None:
        """`row` ÷ `own()`; None if one of them was not timed."""
        own = self.own()
        if own is None or own.latency is None or row.latency is None:
            return None
        pairs = zip(row.latency.rounds_s, own.latency.rounds_s, strict=True)
        low, middle, high = np.percentile([a / b for a, b in pairs], (25, 50, 75))
        return Ratio(float(middle), float(low), float(high))

    def best_peer(self) -> EngineResult | None:
        """The engine of the least ratio that is not edgec and does what `own()` does.

        The fastest in float32, where none of edgec's rows was timed.
        """
        own = self.own()
        peers: list[tuple[float, EngineResult]] = []
        for row in self.engines:
            if row.is_own or row.latency is None:
                continue
            if row.is_float32 if own is None else row.does_the_job_of(own):
                ratio = self.ratio(row)
                time = row.latency.median_s if ratio is None else ratio.ratio
                peers.append((time, row))
        return min(peers, key=lambda pair: pair[0])[1] if peers else None

    def failures(self) -> list[str]:
        """A line for each engine that failed."""
        return [
            f"{self.workload}, {row.engine}: {row.failed}"
            for row in self.engines
            if row.failed is not None
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the ratios."""
        rows: list[dict[str, Any]] = []
        for row in self.engines:
            ratio = self.ratio(row)
            plain = {**asdict(row), "ratio": ratio and asdict(ratio)}
            if row.error is not None and not math.isfinite(row.error):
                plain["error"] = None  # JSON has no such numbers; `failed` says it
            rows.append(plain)
        peer = self.best_peer()
        best = self.ratio(peer) if peer is not None else None
        return {
            "workload": self.workload,
            "density": self.density,
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "engines": rows,
            "notes": list(self.notes),
            "figures": dict(self.figures),
            "best_peer": peer and peer.engine,
            "best_peer_ratio": best and asdict(best),
        }
