"""Measuring layers: what is tried, what is kept, what continues."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.export import ExportedProgram
from xdsl.dialects.builtin import ModuleOp

import edgec
from edgec import driver, tuner
from edgec.context import WeightStore
from edgec.dialects import sq
from edgec.driver import import_for_tuning
from edgec.errors import InvalidInput, PassFailed
from edgec.layer_program import candidates, compile_layer, isolate, layers_of
from edgec.options import Options, Precision
from edgec.passes.analysis.layer_key import layer_key
from edgec.runtime.executable import Executable
from edgec.target import Target
from edgec.tools import cli
from edgec.tuning_log import Entry, append, fingerprint, read_log
from tests.networks import seeded


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuner, "ROUNDS", 1)
    monkeypatch.setattr(tuner, "FINAL_ROUNDS", 1)
    monkeypatch.setattr(tuner, "TURN_SECONDS", 1e-6)


X = torch.ones(1, 4, 6, 6)


def network() -> torch.nn.Module:
    """Two equal layers, and one that is pruned to columns."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 4, 3, padding=1),
        torch.nn.Conv2d(4, 4, 3, padding=1),
        torch.nn.Conv2d(4, 16, 3, padding=1),
    )
    edgec.compress.prune(model, "unstructured", 0.2, layers={"2": 0.2})
    return model.eval()


def test_tuning_continues_and_compiles() -> None:
    log = Path("log.jsonl")
    model = seeded(network)
    lines: list[str] = []
    first = edgec.tune(
        model, X, log=log, trials=2, layers="[01]", threads=1, progress=lines.append
    )
    assert [each.paths for each in first] == [("0", "1")]
    assert lines[0].startswith("[1/1] 0 and 1 more: ")
    assert "fastest of 2" in lines[0]
    second = edgec.tune(model, X, log=log, trials=2, threads=1)
    assert [each.is_new for each in second] == [False, True]
    assert [entry.count for entry in read_log(log)] == [2, 2]
    options = Options(tuning_log=log)
    compiled = edgec.compile(model, X, threads=1, options=options)
    counts = compiled.report().statistics["choose-kernel"]
    assert counts["measured"] == 3
    with torch.no_grad():
        torch.testing.assert_close(compiled(X), model(X), rtol=1e-4, atol=1e-5)


def test_known_layers_are_measured_again_when_asked_to() -> None:
    log, model = Path("log.jsonl"), seeded(network)

    def tune(**options: Any) -> list[tuner.Tuned]:
        return edgec.tune(model, X, log=log, trials=2, layers="0", threads=1, **options)

    tune()
    (entry,) = read_log(log)
    lucky = replace(entry, ms=1e-6)  # no measurement can be as fast
    log.write_text(lucky.to_json() + "\n")
    assert [(each.entry, each.is_new) for each in tune()] == [(lucky, False)]
    (found,) = tune(again=True)
    assert found.is_new
    assert found.entry == read_log(log)[1]
    assert [(each.entry, each.is_new) for each in tune()] == [(found.entry, False)]
    with pytest.raises(InvalidInput, match="`again` measures anew, but storage 'sql"):
        tune(again=True, storage="sqlite:///tune.db")


def test_every_candidate_gives_the_same_results() -> None:
    imported, target = import_for_tuning(seeded(network), X, "native", Options())
    for op in layers_of(imported.module, target):
        layer = isolate(op, imported.ctx)
        several = candidates(layer, target)
        assert len({each.label for each in several}) == len(several)
        usual = compile_layer(layer, target, None, 1)
        inputs = [np.random.default_rng(0).standard_normal((1, 4, 6, 6), np.float32)]
        expected = usual(inputs)[0]
        families = {each.family for each in several}
        tried = [next(c for c in several if c.family == name) for name in families]
        for candidate in [several[0], several[-1], *tried]:
            entry = Entry(
                fingerprint(target),
                1,
                layer.key,
                candidate.family,
                candidate.settings,
                1.0,
                1.0,
                1,
            )
            found = compile_layer(layer, target, entry, 1)(inputs)[0]
            assert found.shape == expected.shape
            difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
            assert difference.max() < 1e-4, candidate.label


def quantized(density: float) -> ExportedProgram:
    """Convolutions on bytes: one with a result of bytes, one of float32, one of each
    channel by itself; all but the last keep `density` of their columns."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(4, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, padding=1, groups=16),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, padding=1),
    )
    if density < 1:
        edgec.compress.prune(model, "block-punched:4x4", density, skip_first=False)
    return edgec.compress.quantize(model.eval(), [torch.randn(X.shape)])


def test_layers_on_integers_are_named_by_what_they_keep() -> None:
    keys: list[list[str]] = []
    for density in (1.0, 0.25, 0.25):
        imported, machine = import_for_tuning(
            quantized(density), X, "native", Options()
        )
        several = layers_of(imported.module, machine)
        keys.append([layer_key(op, imported.ctx.weights) for op in several])
        assert all(sq.has_integers(op.input) for op in several)
    dense, pruned, again = keys
    assert pruned == again
    assert [a == b for a, b in zip(dense, pruned, strict=True)] == [False, True, False]
    shapes = [key.partition(" kept=")[0] for key in dense]
    assert shapes == [key.partition(" kept=")[0] for key in pruned]


@pytest.mark.parametrize("target", ["native", "x86-64-v3"])
def test_every_candidate_of_integers_gives_the_same_bytes(target: str) -> None:
    imported, machine = import_for_tuning(quantized(0.5), X, target, Options())
    families: set[str] = set()
    for op in layers_of(imported.module, machine):
        layer = isolate(op, imported.ctx)
        several = candidates(layer, machine)
        assert len(several) > 1
        usual = compile_layer(layer, machine, None, 1)
        shapes = [spec.shape for spec in usual.spec.inputs]
        inputs = [np.random.default_rng(0).standard_normal(s, "f4") for s in shapes]
        expected = usual(inputs)[0]
        for each in several[:: max(1, len(several) // 4)]:
            families.add(each.family)
            entry = Entry(
                *(fingerprint(machine), 1, layer.key, each.family, each.settings),
                *(1.0, 1.0, 1),
            )
            found = compile_layer(layer, machine, entry, 1)(inputs)[0]
            np.testing.assert_array_equal(found, expected, each.label)
    assert families == {"quads", "quad_depthwise"}


def test_a_quantized_model_is_tuned() -> None:
    program, x = quantized(0.5), torch.randn(X.shape)
    found = edgec.tune(program, log="log.jsonl", trials=2, threads=1)
    assert all(each.is_new for each in found)
    assert len(found) == 3
    usual = edgec.compile(program, threads=1)(x)
    options = Options(tuning_log="log.jsonl")
    tuned = edgec.compile(program, options=options, threads=1)
    assert tuned.report().statistics["choose-kernel"]["measured"] == 3
    assert torch.equal(tuned(x), usual)


HALF = Options(precision="bfloat16")


def convolutions_of(module: ModuleOp, target: Target) -> list[sq.ConvOp]:
    """Without linear layers, which may be tuned where there are tiles."""
    return [op for op in layers_of(module, target) if isinstance(op, sq.ConvOp)]


def in_blocks(density: float) -> torch.nn.Module:
    """Two convolutions, and a linear layer, whose kernel has no schedules."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        *(torch.nn.Conv2d(4, 16, 3, padding=1), torch.nn.ReLU()),
        *(torch.nn.Conv2d(16, 8, 3), torch.nn.Flatten(), torch.nn.Linear(128, 4)),
    )
    if density < 1:
        edgec.compress.prune(model, "block-punched:8x2", density, skip_first=False)
    return model.eval()


def test_layers_of_bfloat16_are_named_by_what_they_keep() -> None:
    keys: list[list[str]] = []
    for density in (1.0, 0.25):
        imported, machine = import_for_tuning(in_blocks(density), X, "native", HALF)
        several = convolutions_of(imported.module, machine)
        keys.append([layer_key(op, imported.ctx.weights) for op in several])
    assert [len(each) for each in keys] == [2, 2]
    assert all(" bf16" in key and " kept=" in key for each in keys for key in each)
    assert keys[0][0] != keys[1][0]
    shapes = [[key.partition(" kept=")[0] for key in each] for each in keys]
    assert shapes[0] == shapes[1]


def test_a_model_in_bfloat16_is_tuned() -> None:
    model, x = in_blocks(1.0), torch.randn(X.shape)
    found = edgec.tune(
        model, X, log="log.jsonl", trials=3, threads=1, precision="bfloat16"
    )
    assert [each.is_new for each in found] == [True, True]
    assert all(each.entry and each.entry.family == "pairs" for each in found)
    usual = edgec.compile(model, X, threads=1, options=HALF)(x)
    options = Options(precision="bfloat16", tuning_log="log.jsonl")
    tuned = edgec.compile(model, X, options=options, threads=1)
    assert tuned.report().statistics["choose-kernel"]["measured"] == 2
    torch.testing.assert_close(tuned(x), usual, rtol=2.0**-7, atol=2.0**-8)
    floats = edgec.tune(model, X, log="log.jsonl", trials=1, threads=1)
    assert all(each.is_new for each in floats), "in float32 they are other layers"


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_tiles_are_candidates_where_the_target_has_them(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compiled: the machine need not have them."""
    monkeypatch.setattr(driver, "check_runnable", lambda _: None)
    amx = "x86-64-v4+vnni+bf16+amx"
    model = in_blocks(1.0) if precision == "bfloat16" else quantized(1.0)
    options = Options(precision=precision)
    imported, machine = import_for_tuning(model, X, amx, options)
    layer = isolate(convolutions_of(imported.module, machine)[-1], imported.ctx)
    several = candidates(layer, machine)
    usual = "pairs" if precision == "bfloat16" else "quads"
    assert {each.family for each in several} == {usual, "tiles"}
    for each in several:
        assert ("tiles" in each.settings) == (each.family == "tiles")


def test_an_interruption_leaves_a_valid_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log, calls = Path("log.jsonl"), [0]
    measure = tuner._LayerTuner._measure  # pyright: ignore[reportPrivateUsage] stopped here

    def stop(self: object, *args: object) -> tuple[float, float]:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return measure(self, *args)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(tuner._LayerTuner, "_measure", stop)  # pyright: ignore[reportPrivateUsage]

    def tune() -> None:
        model, storage = seeded(network), "sqlite:///tune.db"
        edgec.tune(model, X, log=log, trials=2, threads=1, storage=storage)

    with pytest.raises(KeyboardInterrupt):
        tune()
    assert len(read_log(log)) == 1
    before = calls[0]
    tune()
    assert len(read_log(log)) == 2
    assert calls[0] - before == 2, "one trial that was interrupted, and the last word"


SHARING = """
import sys
import time
from pathlib import Path
from typing import Any
from edgec import driver, tuner
from tests.networks import seeded
from tests.unit.test_tuner import X, network
tuner.ROUNDS = tuner.FINAL_ROUNDS = 1
tuner.TURN_SECONDS = 1e-6
model = seeded(network)
Path(f"ready{sys.argv[1]}").touch()
while len(list(Path().glob("ready*"))) < 2:  # all make the database at once
    time.sleep(0.001)
measured = 0
measure = tuner._LayerTuner._run_trial
def counted(self, study, trial):
    global measured
    measured += 1
    measure(self, study, trial)
tuner._LayerTuner._run_trial = counted
found = tuner.tune(
    model, X, log="log.jsonl", trials=4, threads=1, storage="sqlite:///tune.db"
)
Path(f"measured{sys.argv[1]}").write_text(str(measured))
"""


def test_processes_share_the_work() -> None:
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SHARING, str(number)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    one = edgec.tune(seeded(network), X, log="one.jsonl", trials=4, threads=1)
    together, alone = read_log("log.jsonl"), read_log("one.jsonl")
    sides = [sorted((e.layer, e.count) for e in side) for side in (together, alone)]
    assert sides[0] == sides[1]
    measured = [int(Path(f"measured{number}").read_text()) for number in range(2)]
    assert sum(measured) == sum(each.entry.count for each in one if each.entry)
    again = edgec.tune(seeded(network), X, log="log.jsonl", trials=4, threads=1)
    assert not any(each.is_new for each in again)


def test_a_log_with_more_trials_is_known_though_fewer_were_faster() -> None:
    log, model = Path("log.jsonl"), seeded(network)
    edgec.tune(model, X, log=log, trials=1, threads=1, layers="0")
    first = read_log(log)[0]
    append(log, replace(first, ms=first.ms * 1e-3))
    edgec.tune(model, X, log=log, trials=2, threads=1, layers="0")
    assert [entry.count for entry in read_log(log)] == [1, 1, 2]
    found = edgec.tune(model, X, log=log, trials=2, threads=1, layers="0")
    assert [each.is_new for each in found] == [False]
    assert found[0].entry == read_log(log)[2]
    assert len(read_log(log)) == 3


def test_a_trial_that_was_left_waiting_may_have_any_schedule() -> None:
    storage, log = "sqlite:///tune.db", Path("log.jsonl")
    optuna = pytest.importorskip("optuna")
    edgec.tune(
        seeded(network), X, log=log, trials=1, threads=1, layers="0", storage=storage
    )
    name = optuna.get_all_study_names(storage)[0]
    study = optuna.load_study(study_name=name, storage=storage)
    labels = study.get_trials()[0].distributions["schedule"].choices
    study.enqueue_trial({"schedule": labels[-1]})
    edgec.tune(
        seeded(network), X, log=log, trials=2, threads=1, layers="0", storage=storage
    )
    assert [entry.count for entry in read_log(log)] == [1, 2]


@pytest.mark.parametrize("storage", ["junk", "sqlite:///none/x.db", "sqlite:///bad.db"])
def test_storages_that_cannot_be_used(storage: str) -> None:
    Path("bad.db").write_text("no database")
    with pytest.raises(InvalidInput, match=f"storage '{storage}' cannot be used"):
        edgec.tune(
            seeded(network), X, log="log.jsonl", trials=1, layers="0", storage=storage
        )


def test_no_time_means_no_measurement() -> None:
    found = edgec.tune(seeded(network), X, log="log.jsonl", timeout=1e-9, threads=1)
    assert [each.entry for each in found] == [None, None]
    assert not Path("log.jsonl").exists()


def test_wrong_results_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    real = tuner.compile_layer
    made: list[Executable] = []

    def other_weights(layer: tuner.LayerModule, *args: object) -> Executable:
        if made:
            store = WeightStore()
            for name in layer.ctx.weights:
                store.add(name, np.asarray(layer.ctx.weights[name], np.float32) + 1)
            layer.ctx.weights = store
        made.append(real(layer, *args))  # pyright: ignore[reportArgumentType]
        return made[-1]

    monkeypatch.setattr(tuner, "compile_layer", other_weights)
    with pytest.raises(PassFailed, match="gives other results as dense"):
        edgec.tune(seeded(network), X, log="log.jsonl", layers="0", threads=1)


def test_what_is_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = r"no layer to tune has a path like 'x'; there are \['0', '1', '2'\]"
    with pytest.raises(InvalidInput, match=paths):
        edgec.tune(seeded(network), X, log="log.jsonl", layers="x")
    with pytest.raises(InvalidInput, match="`trials` must be at least 1, got 0"):
        edgec.tune(seeded(network), X, log="log.jsonl", trials=0)
    with pytest.raises(InvalidInput, match="`threads` must be a number from 1"):
        edgec.tune(seeded(network), X, log="log.jsonl", threads=0)
    with pytest.raises(
        InvalidInput, match=r"'no/log\.jsonl' cannot be written: its folder"
    ):
        edgec.tune(seeded(network), X, log="no/log.jsonl")
    monkeypatch.setattr(tuner, "find_spec", lambda _: None)
    with pytest.raises(InvalidInput, match=r"pip install 'edgec\[tune\]'"):
        edgec.tune(seeded(network), X, log="log.jsonl")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    torch.export.save(torch.export.export(seeded(network), (X,)), "m.pt2")
    options = ["--trials", "1", "--threads", "1", "--layers", "0"]
    assert cli.main(["tune", "m.pt2", "--log", "log.jsonl", *options]) == 0
    output = capsys.readouterr().out
    assert "[1/1] 0: " in output
    assert "log.jsonl: 1 of 1 layers" in output
    assert cli.main(["tune", "m.pt2", "--log", "log.jsonl", *options, "--again"]) == 0
    assert "fastest of 1" in capsys.readouterr().out
    assert len(read_log("log.jsonl")) == 2
    half = [*options, "--precision", "bfloat16"]
    assert cli.main(["tune", "m.pt2", "--log", "half.jsonl", *half]) == 0
    assert read_log("half.jsonl")[0].family == "pairs"
    capsys.readouterr()
    built = ["compile", "m.pt2", "-o", "m.edgec", "--tuning-log", "log.jsonl"]
    assert cli.main([*built, "--threads", "1", "--statistics"]) == 0
    assert "measured = 2" in capsys.readouterr().out
    Path("log.jsonl").write_text("{}\n")
    assert cli.main(built) == 1
    assert "log.jsonl:1: must be an object with a `version`" in capsys.readouterr().err
    bench = ["bench", "m.pt2", "--rounds", "1", "--tuning-log", "log.jsonl"]
    assert cli.main(bench) == 1
    assert "log.jsonl:1: must be an object with a `version`" in capsys.readouterr().err
    Path("log.jsonl").write_text("")
    assert cli.main(bench) == 0
    assert cli.main(["bench", "m.edgec", *bench[2:]]) == 2
    assert "--tuning-log: only for .pt2 files" in capsys.readouterr().err
    assert cli.main(["tune", "m.pt2", "--log", "none/log.jsonl"]) == 2
    assert "'none' is not a folder" in capsys.readouterr().err
    assert cli.main(["tune", "m.pt2", "--log", "l.jsonl", "--timeout", "nan"]) == 2
    assert "nan is not in the range x>0" in capsys.readouterr().err
    assert cli.main(["compile", "m.pt2", "-o", "m", "--tuning-log", "no"]) == 1
    assert "tuning log 'no' cannot be read: No such file" in capsys.readouterr().err
