"""What is measured: the fixed sets of workloads behind `--suite`, and free choices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import few_rows, granules, quantized
from benchmarks.engines import Setup, make_engines
from benchmarks.engines.base import Engine
from benchmarks.engines.edgec import EdgeC
from benchmarks.layers import draw_case
from benchmarks.line_trip import LineTrip
from benchmarks.masks import Layer, is_anything, is_plain, is_pointwise, punch_model
from benchmarks.models import MODELS, model_spec
from benchmarks.peak import peak_products_per_s
from benchmarks.reading import read_bytes_per_s
from benchmarks.request import DENSITY, ENGINES
from benchmarks.results import ALL_BUT, WorkloadResult
from benchmarks.runner import Workload, run_workload
from benchmarks.sweep import SweepResult, run_case
from edgec.compress import prune
from edgec.driver import host_features
from edgec.target import Target

PEERS = ("onnxruntime", "openvino")

SEED = 0
"""Of weights and inputs: every engine and every run gets the same bits."""


@dataclass(frozen=True)
class Case:
    """A model, how it is pruned, and who runs it."""

    model: str
    engines: Sequence[str]
    """Names that `make_engines` takes."""
    density: float | None = None
    """For `prune`, or the masks; None leaves the model dense."""
    masked: Callable[[Layer], bool] | None = None
    """Layers that are pruned in blocks of filters; None for those of `scheme`."""
    block: int | None = None
    """Filters of such a block; None for what suits the target."""
    scheme: str = "pattern"
    """For `prune`."""


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

SPARSE = (
    Case("vgg16_features", ENGINES, DENSITY, is_plain),
    Case("resnet50", ENGINES, 0.25, is_plain),
    Case("mobilenet_v2", ENGINES, 0.25, is_pointwise),
    Case("r2plus1d_18", ENGINES, 0.3068, is_plain),
)
"""Networks pruned in blocks of filters: all convolutions of one group but the first, of
MobileNetV2 the pointwise ones, which hold nearly all of its weights. R(2+1)D-18 has
3.2 times fewer multiply-adds then, those of its first layer included."""

BF16_DENSE = tuple(
    Case(name, ("torch", "edgec-dense", *PEERS, "openvino-default", "edgec-bfloat16"))
    for name in ("resnet50", "vgg16_features")
)
"""Dense networks in bfloat16, which OpenVINO chooses where the processor has it."""

RECURRENT_BLOCK = 16
"""Rows of a block of recurrent weights: a cache line of each column."""

RECURRENT = tuple(
    Case(name, ("torch", *ENGINES), 0.1, is_anything, RECURRENT_BLOCK)
    for name in ("gru_2x1024_frame", "gru_2x1024")
)
"""The acoustic model of RTMobile, one frame and 100; all matrices are pruned."""

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
        yield _run(_workload(case, engines, plan.setup), plan)


def run_ablation(plan: Plan) -> WorkloadResult:
    """The pruned network with no option of `ABLATION`, with one, two, all but one."""
    engines = ablation_engines(plan.setup)
    case = Case(ABLATION_MODEL, (), DENSITY)
    return _run(_workload(case, engines, plan.setup), plan)


def run_granules(plan: Plan) -> Iterator[WorkloadResult]:
    """Each stack of layers at each density, dense and sparse."""
    block = block_for(plan.setup)
    for stack, density in granules.cases():
        model, x = stack.build(block, density)
        title = f"{stack.name}, blocks of {block}, density {density:g}"
        engines = make_engines(("edgec",), plan.setup, is_pruned=True)
        yield _run(Workload(title, model, (x,), engines, density), plan)


def run_quantized(
    cases: Sequence[quantized.Case], plan: Plan
) -> Iterator[WorkloadResult]:
    """Networks in floats and quantized; of pruned ones, how far beyond dense they are.

    The peak of the machine is measured after each network, as clocks drift.
    """
    for case in cases:
        plan.say(f"{case.model}: quantize")
        workload = quantized.workload(case, plan.setup)
        result = _run(workload, plan)
        if case.density is not None and plan.rounds and not result.failures():
            target = Target.parse(plan.setup.target, host_features)
            count = quantized.multiply_adds(workload.model, workload.inputs)
            peak = peak_products_per_s(target, plan.threads)
            result = quantized.beyond_peak(result, count, peak)
        yield result


def run_linear(
    plan: Plan, several: Sequence[int] = few_rows.INTEGERS
) -> Iterator[WorkloadResult]:
    """Stacks of linear layers of one row; says what they read per second."""
    for bits in several:
        result = _run(few_rows.linear_workload(bits, plan.setup), plan)
        if plan.rounds and not result.failures():
            most = read_bytes_per_s(plan.threads)
            result = few_rows.with_bandwidth(bits, result, most, plan.threads)
        yield result


def run_recurrent(plan: Plan) -> Iterator[WorkloadResult]:
    """The acoustic model with weights in integers."""
    for weights in few_rows.FORMATS:
        yield _run(few_rows.recurrent_workload(weights, plan.setup), plan)


def run_sweep(numbers: Sequence[int], seed: int, plan: Plan) -> Iterator[SweepResult]:
    """The cases of a sweep with these numbers."""
    for number in numbers:
        case = draw_case(number, seed)
        plan.say(case.title)
        yield run_case(case, plan.setup, plan.threads)


def block_for(setup: Setup) -> int:
    """Filters of a block: 8 where a register has 16 lanes, else 4."""
    target = Target.parse(setup.target, host_features)
    return 8 if target.lanes == 16 else 4


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


def _workload(case: Case, engines: Sequence[Engine], setup: Setup) -> Workload:
    spec = model_spec(case.model)
    model, title = spec.build(SEED), case.model
    if case.density is not None and case.masked is not None:
        block = case.block or block_for(setup)
        punch_model(model, block, case.density, case.masked)
        title = f"{case.model}, blocks of {block} pruned to {case.density:g}"
    elif case.density is not None:
        prune(model, case.scheme, case.density)
        title = f"{case.model}, {case.scheme}-pruned to {case.density:g}"
    return Workload(title, model, (spec.example_input(SEED),), engines, case.density)


def _run(workload: Workload, plan: Plan) -> WorkloadResult:
    return run_workload(
        workload,
        threads=plan.threads,
        rounds=plan.rounds,
        say=plan.say,
        line_trip=LineTrip() if plan.threads > 1 else None,
    )
