"""Calling native code: arguments, threads, re-entrancy, memory, overhead."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import numpy.typing as npt
import pytest

from edgec.codegen.entry import ENTRY_SYMBOL, FRAME_FIELDS, entry_text
from edgec.codegen.host import host_features
from edgec.codegen.jit import compile_object, load_object
from edgec.errors import InvalidInput
from edgec.runtime import executable as executable_module
from edgec.runtime.buffers import (
    HUGE_PAGE,
    CallFrame,
    Workspace,
    address_of,
    aligned_empty,
    aligned_zeros,
    gathered,
)
from edgec.runtime.executable import Executable, ProgramSpec, TensorSpec
from edgec.target import MAX_THREADS, Target
from tests.guard import run_guarded

Array = npt.NDArray[np.generic]

NATIVE = Target.native(host_features())
FLOAT = np.dtype(np.float32)
SIZE = 1000

# Element i of the arena is written by thread i % team and read, after the barrier, by
# its neighbour: a missing barrier gives old values. Which neighbour stands in scratch
# meanwhile: shared scratch leaves elements out. y[i] = x[i] * weight[0].
DOUBLE = f"""
define void @edgec_main(i64 %tid, i64 %team, ptr %args, ptr %weights, ptr %arena,
                        ptr %scratch, ptr %barrier) nounwind {{
entry:
  %in = load ptr, ptr %args
  %at1 = getelementptr ptr, ptr %args, i64 1
  %out = load ptr, ptr %at1
  %at2 = getelementptr ptr, ptr %args, i64 2
  %teams = load ptr, ptr %at2
  %weight = load ptr, ptr %weights
  %factor = load float, ptr %weight
  %tid.next = add i64 %tid, 1
  store i64 %tid.next, ptr %scratch
  br label %first
first:
  %i = phi i64 [ %tid, %entry ], [ %i.next, %first ]
  %in.at = getelementptr float, ptr %in, i64 %i
  %x = load float, ptr %in.at
  %y = fmul float %x, %factor
  %arena.at = getelementptr float, ptr %arena, i64 %i
  store float %y, ptr %arena.at
  %i.next = add i64 %i, %team
  %more = icmp ult i64 %i.next, {SIZE}
  br i1 %more, label %first, label %meet
meet:
  call void %barrier()
  %mine = load i64, ptr %scratch
  %start = urem i64 %mine, %team
  %team.float = uitofp i64 %team to float
  br label %second
second:
  %j = phi i64 [ %start, %meet ], [ %j.next, %second ]
  %from = getelementptr float, ptr %arena, i64 %j
  %v = load float, ptr %from
  %to = getelementptr float, ptr %out, i64 %j
  store float %v, ptr %to
  %team.at = getelementptr float, ptr %teams, i64 %j
  store float %team.float, ptr %team.at
  %j.next = add i64 %j, %team
  %again = icmp ult i64 %j.next, {SIZE}
  br i1 %again, label %second, label %done
done:
  ret void
}}
"""

SPEC = ProgramSpec(
    inputs=(TensorSpec("x", (SIZE,), FLOAT),),
    outputs=(TensorSpec("y", (SIZE,), FLOAT), TensorSpec("team", (SIZE,), FLOAT)),
    arena_bytes=4 * SIZE,
    scratch_bytes_per_thread=8,
)


def make(threads: int = 1) -> Executable:
    code = load_object(
        compile_object(DOUBLE + entry_text(), NATIVE), NATIVE, (ENTRY_SYMBOL,)
    )
    weights = [np.array([2.0], np.float32)]
    entry = code.address(ENTRY_SYMBOL)
    return Executable(entry, SPEC, weights, code=code, threads=threads)


def ramp() -> npt.NDArray[np.float32]:
    return np.arange(SIZE, dtype=np.float32)


def test_frame_of_both_sides_agrees() -> None:
    assert tuple(name for name, *_ in CallFrame._fields_) == FRAME_FIELDS
    offsets = [getattr(CallFrame, name).offset for name in FRAME_FIELDS]
    assert offsets == [8 * index for index in range(len(FRAME_FIELDS))]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_team_shares_arena_and_meets_at_the_barrier(threads: int) -> None:
    run = make(threads)
    for step in range(20):
        x = ramp() + np.float32(step)  # so that values of the last call are wrong
        y, team = run([x])
        np.testing.assert_array_equal(y, 2 * x)
        np.testing.assert_array_equal(team, np.float32(threads))


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_from_several_threads_do_not_mix(threads: int) -> None:
    run = make(threads)
    wrong: list[int] = []

    def work(n: int) -> None:
        x = ramp() + np.float32(1000 * n)
        for _ in range(50):
            if not np.array_equal(run([x])[0], 2 * x):
                wrong.append(n)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


SMALLER_TEAM = """
import os
os.environ["OMP_THREAD_LIMIT"] = "1"
import numpy as np
from tests.unit.test_runtime_executable import make, ramp
y, team = make(4)([ramp()])
assert (y == 2 * ramp()).all()
assert (team == 1).all(), team
"""


def test_team_may_be_smaller_than_asked_for() -> None:
    result = run_guarded(SMALLER_TEAM)
    assert result.returncode == 0, result.stderr


# Every thread of the outer team calls the entry; inner teams have one thread each.
NESTED = """
import ctypes
import threading
from edgec.runtime.threads import find_openmp
from tests.unit.test_runtime_executable import make, ramp
run, wrong, lock = make(2), [], threading.Lock()

@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def outer(_):
    with lock:
        y, team = run([ramp()])
        if not ((y == 2 * ramp()).all() and (team == 1).all()):
            wrong.append(team)

parallel = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
)(find_openmp().parallel)
parallel(ctypes.cast(outer, ctypes.c_void_p), None, 2, 0)
assert wrong == [], wrong
"""


def test_nested_regions_run_alone() -> None:
    result = run_guarded(NESTED)
    assert result.returncode == 0, result.stderr


# libgomp's threads are missing in a forked process: its first thread would wait for
# them. Whoever used them before: edgec, or another library before edgec is imported.
FORKED = """
import os
import signal
{before}
child = os.fork()
if child == 0:
    signal.alarm(20)
    from tests.unit.test_runtime_executable import make, ramp
    several, one = make(2), make(1)
    for run in (several, one, several):
        y, team = run([ramp()])
        assert (y == 2 * ramp()).all()
        assert (team == run.threads).all()
    grandchild = os.fork()
    y, _ = several([ramp()])
    assert (y == 2 * ramp()).all()
    if grandchild:
        _, status = os.waitpid(grandchild, 0)
        assert status == 0, status
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
"""
AFTER_EDGEC = """
from tests.unit.test_runtime_executable import make, ramp
make(2)([ramp()])
"""
AFTER_TORCH = """
import torch
torch.set_num_threads(2)
torch.ones(1000, 1000).exp()
"""


@pytest.mark.parametrize("before", [AFTER_EDGEC, AFTER_TORCH], ids=["edgec", "torch"])
def test_a_forked_process_does_not_wait_for_threads_it_lacks(before: str) -> None:
    result = run_guarded(FORKED.format(before=before))
    assert result.returncode == 0, result.stderr


def test_threads_without_a_runtime_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executable_module, "find_openmp", lambda: None)
    with pytest.raises(InvalidInput, match="`threads` is 2, but this process has no"):
        make(2)
    np.testing.assert_array_equal(make(1)([ramp()])[0], 2 * ramp())


@pytest.mark.parametrize("threads", [0, -1, MAX_THREADS + 1])
def test_numbers_of_threads_that_cannot_be(threads: int) -> None:
    with pytest.raises(InvalidInput, match=f"from 1 to {MAX_THREADS}, got {threads}"):
        make(threads)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "expected 1 inputs ('x'), got 0"),
        ([ramp(), ramp()], "expected 1 inputs ('x'), got 2"),
        ([ramp()[1:]], "input 'x' must be float32 of shape (1000,); got float32 of"),
        ([ramp().reshape(1, SIZE)], "got float32 of shape (1, 1000)"),
        ([ramp().astype(np.float64)], "got float64 of shape (1000,)"),
        ([ramp().astype(">f4")], "got >f4 of shape (1000,)"),
        ([[1.0] * SIZE], "input 'x' must be a numpy array, float32 of shape (1000,)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(given: list[Array], message: str) -> None:
    with pytest.raises(InvalidInput) as error:
        make()(given)
    assert message in str(error.value)


def test_any_strides_are_taken() -> None:
    wide = np.arange(3 * SIZE, dtype=np.float32)
    run = make()
    for x in (wide[::3], wide[SIZE - 1 :: -1], np.broadcast_to(wide[5:6], (SIZE,))):
        before = x.copy()
        np.testing.assert_array_equal(run([x])[0], 2 * before)
        np.testing.assert_array_equal(x, before)


def test_read_only_and_unaligned_inputs_are_taken() -> None:
    block = np.zeros(4 * SIZE + 1, np.uint8)
    x = block[1:].view(np.float32)
    x[:] = ramp()
    x.flags.writeable = False
    np.testing.assert_array_equal(make()([x])[0], 2 * ramp())


def test_outputs_are_new_and_aligned() -> None:
    run = make()
    first, second = run([ramp()])[0], run([ramp() + 1])[0]
    np.testing.assert_array_equal(first, 2 * ramp())
    assert not np.shares_memory(first, second)
    assert all(address_of(y) % 64 == 0 for y in (first, second))


def test_aligned_weights_are_shared_and_others_copied() -> None:
    block = np.zeros(64, np.float32)
    start = -address_of(block) % 64 // 4
    aligned, unaligned = block[start : start + 1], block[start + 1 : start + 2]
    for weight, shared in ((aligned, True), (unaligned, False)):
        weight[0] = 2
        code = load_object(
            compile_object(DOUBLE + entry_text(), NATIVE), NATIVE, (ENTRY_SYMBOL,)
        )
        run = Executable(code.address(ENTRY_SYMBOL), SPEC, [weight], code=code)
        weight[0] = 3
        factor = 3 if shared else 2
        np.testing.assert_array_equal(run([ramp()])[0], factor * ramp())


def test_memory_is_aligned_and_apart() -> None:
    workspace = Workspace(
        arena_bytes=100, scratch_bytes_per_thread=8, threads=3, num_args=1
    )
    frame = workspace.frame
    assert frame.arena % 64 == 0
    assert frame.scratch % 64 == 0
    assert frame.scratch_stride == 128
    assert workspace.scratch.size == 3 * 128
    assert not workspace.arena.any()


@pytest.mark.parametrize("size", [100, HUGE_PAGE + 1], ids=["small", "huge"])
def test_a_forked_process_has_memory_of_its_own(size: int) -> None:
    blocks = [aligned_zeros(size), aligned_empty((size,), np.dtype(np.uint8))]
    blocks += gathered([np.zeros(size, np.uint8)])
    for block in blocks:
        block.flags.writeable = True
        block[:] = 1
    child = os.fork()
    if child == 0:
        for block in blocks:
            block[:] = 2
        os._exit(0)
    os.waitpid(child, 0)
    assert [np.unique(block).tolist() for block in blocks] == [[1]] * 3


def test_sequential_calls_reuse_one_workspace() -> None:
    run = make()
    for _ in range(5):
        run([ramp()])
    assert run.num_idle_workspaces() == 1


def test_scalars_and_empty_tensors() -> None:
    text = """
    define void @edgec_main(i64 %tid, i64 %team, ptr %args, ptr %weights, ptr %arena,
                            ptr %scratch, ptr %barrier) nounwind {
      %in = load ptr, ptr %args
      %at = getelementptr ptr, ptr %args, i64 2
      %out = load ptr, ptr %at
      %v = load i64, ptr %in
      store i64 %v, ptr %out
      ret void
    }"""
    code = load_object(
        compile_object(text + entry_text(), NATIVE), NATIVE, (ENTRY_SYMBOL,)
    )
    long, none = np.dtype(np.int64), TensorSpec("none", (0, 3), FLOAT)
    spec = ProgramSpec(
        (TensorSpec("n", (), long), none), (TensorSpec("m", (), long), none), 0, 0
    )
    run = Executable(code.address(ENTRY_SYMBOL), spec, [], code=code)
    m, empty = run([np.array(7), np.zeros((0, 3), np.float32)])
    assert (int(m), m.shape, empty.shape) == (7, (), (0, 3))


def test_a_call_costs_little() -> None:
    run, x = make(), [ramp()]
    times: list[float] = []
    for _ in range(2000):
        start = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - start)
    # The target is 25 µs for a tiny model; this one computes for about 1 µs.
    assert min(times) < 25e-6


GUARDED = """
import numpy as np
from tests.guard import guarded_copy
from tests.unit.test_runtime_executable import make, ramp
run = make(2)
for side in ("end", "begin"):
    x = guarded_copy(ramp(), side)
    assert (run([x])[0] == 2 * ramp()).all()
"""


def test_nothing_is_read_beyond_an_input() -> None:
    result = run_guarded(GUARDED)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("side", "offset"), [("end", 1000), ("begin", -1)], ids=["end", "begin"]
)
def test_guard_pages_catch_one_element_beyond(side: str, offset: int) -> None:
    script = f"""
import ctypes
from tests.guard import guarded_zeros
x = guarded_zeros((1000,), side={side!r})
base = x.ctypes.data
read = lambda i: ctypes.c_float.from_address(base + 4 * i).value
assert read(0) == read(999) == 0
print("inside", flush=True)
read({offset})
"""
    result = run_guarded(script)
    assert result.stdout == "inside\n"
    assert result.returncode in (-11, -7)
