"""Whole models: what compiled code computes, compared with torch eager."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import edgec
from edgec.compress import prune
from edgec.options import Options
from tests.importing import sample
from tests.lanes import runnable_targets
from tests.networks import NETWORKS, TOLERANCE, USUAL, Several, deep, network, seeded

NO_CACHE = Options(use_cache=False)


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def compiled(name: str, batch: int = 1) -> edgec.CompiledModel:
    model, x = network(name, batch)
    return edgec.compile(model, x, threads=1, options=NO_CACHE)


@cache
def pruned(seed: int = 0) -> nn.Module:
    """A network whose last two layers are pruned to patterns."""
    model = seeded(deep)
    for number, tensor in enumerate(model.parameters()):
        if tensor.dim() == 4:
            tensor.data = sample(*tensor.shape, seed=seed + number) / 10
    prune(model, "pattern", density=0.125)
    return model


PRUNED_INPUT = sample(2, 3, 12, 17)


def compile_pruned(**options: Any) -> edgec.CompiledModel:
    chosen = Options(use_cache=False, **options)
    return edgec.compile(pruned(), PRUNED_INPUT, threads=1, options=chosen)


def eager(model: nn.Module, *args: Any, **kwargs: Any) -> Any:
    with torch.no_grad():
        return model(*args, **kwargs)


def assert_near(found: Any, expected: Any, tolerance: float = USUAL) -> None:
    """Equal structures, and tensors that differ little for their largest value."""
    found_leaves, found_spec = pytree.tree_flatten(found)
    leaves, spec = pytree.tree_flatten(expected)
    assert found_spec == spec
    for mine, theirs in zip(found_leaves, leaves, strict=True):
        if not isinstance(theirs, torch.Tensor):
            assert mine == theirs
            continue
        assert mine.dtype == theirs.dtype
        largest = float(theirs.abs().max())
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * largest)


# What is computed


@pytest.mark.parametrize("name", NETWORKS)
def test_same_numbers_as_eager(name: str) -> None:
    model, x = network(name)
    tolerance = TOLERANCE.get(name, USUAL)
    assert_near(compiled(name)(x), eager(model, x), tolerance)


@pytest.mark.parametrize("batch", [2, 3])
@pytest.mark.parametrize("name", ["plain", "squeeze-excite", "mixer", "clip", "volume"])
def test_batches(name: str, batch: int) -> None:
    model, x = network(name, batch)
    tolerance = TOLERANCE.get(name, USUAL)
    assert_near(compiled(name, batch)(x), eager(model, x), tolerance)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["plain", "grouped", "clip", "volume"])
def test_targets(name: str, target: edgec.Target) -> None:
    model, x = network(name)
    found = edgec.compile(model, x, target=target, threads=1, options=NO_CACHE)(x)
    assert_near(found, eager(model, x))


def test_an_exported_program_and_a_file(tmp_path: Path) -> None:
    model, x = network("plain")
    program = torch.export.export(model, (x,))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    expected = compiled("plain")(x)
    for source in (program, path, str(path)):
        found = edgec.compile(source, threads=1, options=NO_CACHE)(x)
        assert torch.equal(found, expected)


def test_a_model_in_training_mode_is_compiled_as_in_eval_mode() -> None:
    model, x = network("plain")
    expected = eager(model, x)
    model.train()
    assert_near(edgec.compile(model, x, options=NO_CACHE)(x), expected)
    assert model.training


# Inputs and outputs


def several() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    pair = [sample(2, 4), sample(2, 1, 1, 1, seed=1)]
    args = (sample(2, 2, 5, 6), {"pair": pair})
    return seeded(Several), args, {"gain": sample(1, seed=2)}


def compile_several() -> edgec.CompiledModel:
    model, args, kwargs = several()
    program = torch.export.export(model, args, kwargs)
    return edgec.compile(program, threads=1, options=NO_CACHE)


def test_nested_inputs_and_outputs_and_keywords() -> None:
    model, args, kwargs = several()
    assert_near(compile_several()(*args, **kwargs), eager(model, *args, **kwargs))


def test_numpy_in_numpy_out() -> None:
    model, args, kwargs = several()
    compiled_model = compile_several()
    expected = compiled_model(*args, **kwargs)
    arrays = pytree.tree_map(lambda t: t.numpy(), (args, kwargs))
    found = compiled_model(*arrays[0], **arrays[1])
    assert type(found["features"][0]) is np.ndarray
    tensors = pytree.tree_map_only(np.ndarray, torch.from_numpy, found)
    assert_near(tensors, expected, tolerance=0)
    assert_near(expected, eager(model, *args, **kwargs))


def test_keys_of_a_dict_may_come_in_any_order() -> None:
    class Two(nn.Module):
        def forward(self, x: dict[str, torch.Tensor]) -> torch.Tensor:
            return x["a"] - x["b"]

    a, b = sample(3), sample(3, seed=1)
    model = edgec.compile(Two(), ({"a": a, "b": b},), options=NO_CACHE)
    assert torch.equal(model({"b": b, "a": a}), a - b)


def test_inputs_of_any_strides_and_with_gradients() -> None:
    model, x = network("plain")
    expected = compiled("plain")(x)
    last = x.to(memory_format=torch.channels_last)
    wide = torch.zeros(1, 3, 26, 22)
    wide[:, :, ::2, ::2] = x
    for other in (last, wide[:, :, ::2, ::2], x.clone().requires_grad_()):
        found = compiled("plain")(other)
        assert torch.equal(found, expected)
        assert not found.requires_grad
    assert_near(expected, eager(model, x))


def test_an_output_that_is_an_input() -> None:
    class Same(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, x.reshape(6)

    x = sample(2, 3)
    same, flat = edgec.compile(Same(), x, options=NO_CACHE)(x)
    assert torch.equal(same, x)
    assert torch.equal(flat, x.reshape(6))


def test_outputs_are_new_and_inputs_stay() -> None:
    _, x = network("plain")
    before = x.clone()
    first = compiled("plain")(x)
    kept = first.clone()
    second = compiled("plain")(x + 1)
    assert torch.equal(first, kept)
    assert torch.equal(x, before)
    assert not torch.equal(first, second)


def test_weights_are_as_they_were_when_compiled() -> None:
    model, x = network("plain")
    ours = edgec.compile(model, x, threads=1, options=NO_CACHE)
    before = ours(x)
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.zero_()
    assert torch.equal(ours(x), before)


# Threads


@pytest.mark.parametrize("name", NETWORKS)
def test_any_number_of_threads_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    _, x = network(name)
    model = compiled(name)
    model.save(tmp_path / "model.edgec")
    for threads in (2, 3):
        other = edgec.load(tmp_path / "model.edgec", threads)
        assert other.threads == threads
        assert torch.equal(other(x), model(x))


def test_calls_from_several_threads() -> None:
    model, x = network("hourglass")
    ours = edgec.compile(model, x, threads=2, options=NO_CACHE)
    inputs = [x + number for number in range(8)]
    expected = [ours(each) for each in inputs]
    start = threading.Barrier(4)

    def call(first: int) -> list[torch.Tensor]:
        start.wait()
        return [ours(inputs[(first + i) % 8]) for i in range(12)]

    with ThreadPoolExecutor(4) as pool:
        for first, results in enumerate(pool.map(call, range(4))):
            for i, result in enumerate(results):
                assert torch.equal(result, expected[(first + i) % 8])


# Options


@pytest.mark.parametrize("sparsity", ["auto", "ignore", "always"])
def test_a_pruned_model(sparsity: str) -> None:
    ours = compile_pruned(sparsity=sparsity)
    assert_near(ours(PRUNED_INPUT), eager(pruned(), PRUNED_INPUT))
    schemes = [layer.scheme for layer in ours.report().layers]
    assert ("pattern" in schemes) == (sparsity != "ignore")
    if sparsity == "always":
        kernels = [layer.kernel for layer in ours.report().layers]
        assert any(kernel.startswith("pattern") for kernel in kernels)


@pytest.mark.parametrize("sparsity", ["auto", "ignore", "always"])
def test_density_is_reported_whatever_runs(sparsity: str) -> None:
    report = compile_pruned(sparsity=sparsity, shrink=False).report()
    weights = [w.detach() for w in pruned().parameters() if w.dim() == 4]
    shares = [int(w.count_nonzero()) / w.numel() for w in weights]
    assert min(shares) == pytest.approx(0.125, abs=0.01)
    assert [layer.density for layer in report.layers] == pytest.approx(shares)
    header, *rows = str(report).splitlines()[: len(weights) + 1]
    start = header.index("density")
    assert [row[start:].split()[0] for row in rows] == [f"{s:.3f}" for s in shares]


class Computed(nn.Module):
    """A linear layer and a convolution whose parameters are made of inputs."""

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, b: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both layers."""
        kernel = torch.ones(3, 2, 3, 3)
        convolved = nn.functional.conv2d(x, kernel, b.tanh(), padding=1)
        return nn.functional.linear(x, w * 2, b), convolved


def test_parameters_that_the_model_computes() -> None:
    args = sample(2, 2, 5, 7), sample(3, 7, seed=1), sample(3, seed=2)
    found = edgec.compile(Computed(), args, threads=1, options=NO_CACHE)(*args)
    assert_near(found, eager(Computed(), *args))


def test_example_inputs_of_numpy() -> None:
    image = sample(2, 2, 5, 6)
    more = {"pair": [sample(2, 4), sample(2, 1, 1, 1, seed=1)]}
    gain = sample(1, seed=2)
    model = seeded(Several).eval()
    mixed = {
        "image": image.numpy()[::-1, ::-1],
        "more": {"pair": [more["pair"][0].numpy(), more["pair"][1]]},
        "gain": gain.numpy(),
    }
    ours = edgec.compile(model, mixed, threads=1, options=NO_CACHE)
    found = ours(image=image, more=more, gain=gain)
    assert_near(found, eager(model, image, more, gain=gain))


TOGGLES = [field.name for field in fields(Options) if field.type == "bool"]


@pytest.mark.parametrize("toggle", [t for t in TOGGLES if t != "use_cache"])
def test_a_pass_that_is_off_changes_no_number(toggle: str) -> None:
    options = {"sparsity": "always", toggle: False}
    found = compile_pruned(**options)(PRUNED_INPUT)
    assert_near(found, eager(pruned(), PRUNED_INPUT))


class Folded(nn.Module):
    """Convolutions on both sides of a reshape; rows have gaps on both."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 6, 3, padding=1)
        self.after = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.before(x).reshape(2, 3, 7, 20))


def test_a_reshape_between_convolutions() -> None:
    model, x = seeded(Folded), sample(2, 3, 7, 10)
    assert_near(edgec.compile(model, x, options=NO_CACHE)(x), eager(model, x))


# Cache


def test_the_second_time_comes_from_the_cache(tmp_path: Path) -> None:
    options = Options(cache=tmp_path)
    as_text = Options(cache=str(tmp_path))
    first = edgec.compile(pruned(), PRUNED_INPUT, threads=1, options=options)
    again = edgec.compile(pruned(), PRUNED_INPUT, threads=1, options=as_text)
    assert not first.report().is_cached
    assert again.report().is_cached
    assert torch.equal(first(PRUNED_INPUT), again(PRUNED_INPUT))


@pytest.mark.parametrize("sparsity", ["ignore", "always"])
def test_cached_code_works_with_other_weights(tmp_path: Path, sparsity: Any) -> None:
    options = Options(cache=tmp_path, sparsity=sparsity)
    for seed in (0, 100):
        model = pruned(seed)
        ours = edgec.compile(model, PRUNED_INPUT, threads=1, options=options)
        assert_near(ours(PRUNED_INPUT), eager(model, PRUNED_INPUT))


class Shared(nn.Module):
    """One weight with three biases; equal ones are stored once."""

    def __init__(self, *biases: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))
        self.biases = nn.ParameterList(torch.full((4,), bias) for bias in biases)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(nn.functional.conv2d(x, self.weight, bias) for bias in self.biases)


def test_cached_code_does_not_mix_up_weights_that_were_equal(tmp_path: Path) -> None:
    x = torch.ones(1, 3, 5, 5)
    for biases in ((1.0, 1.0, 2.0), (1.0, 2.0, 2.0), (2.0, 1.0, 2.0)):
        model = Shared(*biases)
        ours = edgec.compile(model, x, threads=1, options=Options(cache=tmp_path))
        for found, expected in zip(ours(x), model(x), strict=True):
            assert_near(found, expected.detach())


def test_an_observer_sees_every_pass_in_spite_of_the_cache(tmp_path: Path) -> None:
    model, x = network("line")
    options = Options(cache=tmp_path)
    for _ in range(2):
        seen: list[str] = []
        edgec.compile(
            model,
            x,
            options=options,
            observer=lambda pass_, _module, seen=seen: seen.append(pass_.name),
        )
        assert seen[0] == "canonicalize-nn"
        assert seen[-1] == "plan-memory"


_RACE = """
import sys
from pathlib import Path
import edgec
from tests.networks import network
model, x = network("line")
options = edgec.Options(cache=Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2):
    y = edgec.compile(model, x, threads=1, options=options)(x)
sys.stdout.write(y.numpy().tobytes().hex())
"""


@pytest.mark.slow
def test_processes_may_share_a_cache_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RACE, str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    racers = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:  # both wait by now: they go at once
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    results = [racer.communicate(timeout=100)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert results[0] == results[1] != ""


def test_a_compiled_model_says_what_it_takes() -> None:
    model = edgec.compile(nn.ReLU(), torch.zeros(2, 3), threads=1)
    assert "float32 of shape (2, 3) -> " in repr(model)
    assert repr(model).endswith("threads=1)")
