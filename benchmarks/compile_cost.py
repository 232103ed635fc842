"""What compiling costs: seconds, memory, and the memory that the program needs.

Each measurement runs in a process of its own, `python -m benchmarks.compile_cost`,
which prints one line of JSON. Peak memory is `VmHWM` of `/proc/self/status`, which
starts anew with the program; `ru_maxrss` would begin with that of the parent process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODEL = "resnet50"

HELP_RUNS = 5
"""Starts of `edgec-opt --help`; the median counts."""


def measure_compile(target: str, threads: int) -> dict[str, Any]:
    """Cold, cached and fresh-process compile of one network; plain values.

    Raises `CalledProcessError` if a process fails; it printed why.
    """
    with tempfile.TemporaryDirectory() as folder:
        cold = _in_process(folder, target, str(threads))
        cached = _in_process(folder, target, str(threads))
    return {
        "model": MODEL,
        "cold_s": cold["first_s"],
        "cached_same_process_s": cold["second_s"],
        "cached_fresh_process_s": cached["first_s"],
        "stages_s": cold["stages_s"],
        "import_s": cold["import_s"],
        "weights_bytes": cold["weights_bytes"],
        "torch_imported_peak_bytes": cold["torch_peak_bytes"],
        "model_built_peak_bytes": cold["model_peak_bytes"],
        "compile_peak_bytes": cold["peak_bytes"],
        "arena_bytes": cold["arena_bytes"],
        "live_bytes": cold["live_bytes"],
        "arena_to_live": cold["arena_bytes"] / cold["live_bytes"],
        "opt_help_s": _seconds_of_help(),
    }


def peak_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The largest resident memory of this process since its program started."""
    for line in status.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"'{status}' has no VmHWM: peak memory needs Linux")


def _in_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.compile_cost", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _seconds_of_help() -> float:
    """How long the smallest use of a tool takes: what everyone waits for first."""
    command = [sys.executable, "-m", "edgec.tools.opt", "--help"]
    seconds: list[float] = []
    for _ in range(HELP_RUNS):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _compile_twice(folder: Path, target: str, threads: int) -> dict[str, Any]:
    """Compile with the cache in `folder`; what a child process reports."""
    import torch

    torch.set_num_threads(threads)
    found: dict[str, Any] = {"torch_peak_bytes": peak_bytes()}
    from benchmarks.models import model_spec

    spec = model_spec(MODEL)
    model, x = spec.build(), spec.example_input()
    found["weights_bytes"] = sum(t.nbytes for t in model.state_dict().values())
    found["model_peak_bytes"] = peak_bytes()
    start = time.perf_counter()
    from edgec.driver import compile as compile_model
    from edgec.options import Options

    found["import_s"] = time.perf_counter() - start
    options = Options(cache=folder)
    start = time.perf_counter()
    compiled = compile_model(
        model, (x,), target=target, threads=threads, options=options
    )
    found["first_s"] = time.perf_counter() - start
    found["peak_bytes"] = peak_bytes()
    start = time.perf_counter()
    compile_model(model, (x,), target=target, threads=threads, options=options)
    found["second_s"] = time.perf_counter() - start
    report = compiled.report()
    found["stages_s"] = dict(report.seconds)
    found["arena_bytes"], found["live_bytes"] = report.arena_bytes, report.live_bytes
    return found


if __name__ == "__main__":
    print(json.dumps(_compile_twice(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
