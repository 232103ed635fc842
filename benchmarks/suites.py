"""What is measured: the fixed sets of workloads behind `--suite`, and free choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.engines import Setup, make_engines
from benchmarks.engines.base import Engine
from benchmarks.engines.edgec import EdgeC
from benchmarks.models import MODELS, model_spec
from benchmarks.request import DENSITY, ENGINES
from benchmarks.results import ALL_BUT, WorkloadResult
from benchmarks.runner import Workload, run_workload
from edgec.compress import prune

SEED = 0
"""Of weights and inputs: every engine and every run gets the same bits."""


@dataclass(frozen=True)
class Case:
    """A model, how it is pruned, and who runs it."""

    model: str
    engines: Sequence[str]
    """Names that `make_engines` takes."""
    density: float | None = None
    """For `prune`; None leaves the model dense."""


@dataclass(frozen=True)
class Plan:
    """How everything in one run is measured."""

    setup: Setup
    threads: int
    rounds: int
    say: Callable[[str], None] = lambda _: None
    """Gets a line whenever something slow begins."""


SPINE = (
    Case("resnet50", ENGINES),
    Case("vgg16", ENGINES),
    Case("mobilenet_v2", ENGINES),
    Case("vgg16_features", ENGINES, DENSITY),
)
"""Dense networks that everybody measures, and one that was pruned."""

MODEL_CASES = tuple(Case(name, ("edgec",)) for name in MODELS)
"""Every network; its outputs are compared with torch's, nothing is timed."""

ABLATION_MODEL = "vgg16_features"

ABLATION = ("reorder", "share_loads", "tune_layouts")
"""Options of edgec that are switched on one after the other."""


def run_cases(cases: Sequence[Case], plan: Plan) -> Iterator[WorkloadResult]:
    """The result of each case as soon as it is there.

    Raises `InvalidInput` for a name or a density that is not allowed.
    """
    for case in cases:
        engines = make_engines(
            case.engines, plan.setup, is_pruned=case.density is not None
        )
        yield _run(_workload(case.model, case.density, engines), plan)


def run_ablation(plan: Plan) -> WorkloadResult:
    """The pruned network with no option of `ABLATION`, with one, two, all but one."""
    engines = ablation_engines(plan.setup)
    return _run(_workload(ABLATION_MODEL, DENSITY, engines), plan)


def ablation_engines(setup: Setup) -> list[EdgeC]:
    """Options switched on one after the other, then each one off alone.

    The last row is edgec as it is. What an option gains depends on the others: loads
    are shared in another kernel once layouts are tuned.
    """
    last = len(ABLATION)
    rows = {"none": ABLATION}
    rows |= {f"+ {ABLATION[n - 1]}": ABLATION[n:] for n in range(1, last)}
    rows |= {f"{ALL_BUT}{name}": (name,) for name in ABLATION[: last - 1]}
    rows[f"+ {ABLATION[last - 1]}"] = ()
    return [
        EdgeC(row, setup.options(**dict.fromkeys(off, False)), setup.target)
        for row, off in rows.items()
    ]


def _workload(name: str, density: float | None, engines: Sequence[Engine]) -> Workload:
    spec = model_spec(name)
    model = spec.build(SEED)
    title = name
    if density is not None:
        prune(model, "pattern", density)
        title = f"{name}, pattern-pruned to {density:g}"
    return Workload(title, model, (spec.example_input(SEED),), engines, density)


def _run(workload: Workload, plan: Plan) -> WorkloadResult:
    return run_workload(
        workload, threads=plan.threads, rounds=plan.rounds, say=plan.say
    )
