"""Vector functions against float64, over the whole range of float32."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from edgec.codegen.host import host_features
from edgec.codegen.jit import (
    LoadedObject,
    compile_object,
    emit_assembly,
    load_object,
)
from edgec.codegen.math import ARITY, LANES, function_text, inline_text
from edgec.errors import CodegenFailed
from edgec.target import Target

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NATIVE = Target.native(host_features())
UNFUSED = replace(NATIVE, name="unfused", features=NATIVE.features - {"fma", "neon"})

REFERENCES: dict[str, Callable[[Float64], Float64]] = {
    "cos": np.cos,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "exp": np.exp,
    "log": np.log,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sin": np.sin,
    "tanh": np.tanh,
}

# Bounds that the module's docstring states; libm's own for the last two.
LARGEST_ULP = {
    "exp": 1.5,
    "log": 1.5,
    "tanh": 3.0,
    "erf": 2.0,
    "sigmoid": 3.0,
    "sin": 1.0,
    "cos": 1.0,
}


@cache
def compiled(name: str, lanes: int, target: Target) -> LoadedObject:
    """`void run(y, x, z, n)`: y[i] = name(x[i]) or name(x[i], z[i])."""
    symbol, definition = function_text(name, lanes, fma=target.fma)
    kind = "float" if lanes == 1 else f"<{lanes} x float>"
    args = ", ".join(f"{kind} %{arg}" for arg in "vw"[: ARITY[name]])
    loop = f"""
    define void @run(ptr %y, ptr %x, ptr %z, i64 %n) nounwind {{
    entry:
      br label %loop
    loop:
      %i = phi i64 [0, %entry], [%next, %loop]
      %px = getelementptr float, ptr %x, i64 %i
      %py = getelementptr float, ptr %y, i64 %i
      %pz = getelementptr float, ptr %z, i64 %i
      %v = load {kind}, ptr %px, align 4
      %w = load {kind}, ptr %pz, align 4
      %r = call {kind} @{symbol}({args})
      store {kind} %r, ptr %py, align 4
      %next = add i64 %i, {lanes}
      %more = icmp ult i64 %next, %n
      br i1 %more, label %loop, label %done
    done:
      ret void
    }}"""
    text = definition + loop
    return load_object(compile_object(text, target), target, ("run",))


def apply(
    name: str, lanes: int, target: Target, x: Float32, z: Float32 | None = None
) -> Float32:
    loaded = compiled(name, lanes, target)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(
        loaded.address("run")
    )
    padded = -(-x.size // lanes) * lanes
    xs, zs, ys = (np.zeros(padded, np.float32) for _ in range(3))
    xs[: x.size] = x
    zs[: x.size] = x if z is None else z
    run(ys.ctypes.data, xs.ctypes.data, zs.ctypes.data, padded)
    return ys[: x.size]


def samples() -> Float32:
    """All magnitudes and signs, more where the functions bend; no NaN."""
    bits = np.arange(0, 2**32, 65_521, dtype=np.uint64).astype(np.uint32)
    everywhere = bits.view(np.float32)
    return np.concatenate(
        [
            everywhere[~np.isnan(everywhere)],
            np.linspace(-12, 12, 40_001, dtype=np.float32),
            np.linspace(-110, 100, 20_001, dtype=np.float32),
            np.linspace(0.5, 2, 20_001, dtype=np.float32),
        ]
    )


def ulps(result: Float32, exact: Float64) -> Float64:
    """Distance in units in the last place of the rounded exact result.

    Infinite or NaN results must be the same, which counts as 0.
    """
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(result[~finite], rounded[~finite])
    unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    return np.abs(result[finite].astype(np.float64) - exact[finite]) / unit


@pytest.mark.parametrize("target", [NATIVE, UNFUSED], ids=lambda t: t.name)
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_error_is_within_the_bound(name: str, target: Target) -> None:
    x = samples()
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
    result = apply(name, target.lanes, target, x)
    error = ulps(result, exact)
    assert error.size > 60_000
    assert error.max() <= LARGEST_ULP[name]


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("name", sorted(ARITY))
def test_every_width_gives_the_same_bits(name: str, lanes: int) -> None:
    x = np.linspace(0.1, 7, 64, dtype=np.float32)
    widest = apply(name, NATIVE.lanes, NATIVE, x)
    np.testing.assert_array_equal(apply(name, lanes, NATIVE, x), widest)


INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", [NAN, INF, -INF, 0.0, -0.0], [NAN, INF, 0.0, 1.0, 1.0]),
        ("exp", [88.72283, 88.73, 1e38, -150.0], [3.4027985e38, INF, INF, 0.0]),
        ("exp", [-103.0, 1e-45], [1.4e-45, 1.0]),
        ("log", [NAN, INF, -INF, -1.0, 1.0], [NAN, INF, NAN, NAN, 0.0]),
        ("log", [0.0, -0.0, 1e-45], [-INF, -INF, -103.27893]),
        ("tanh", [NAN, INF, -INF, 0.0, -0.0], [NAN, 1.0, -1.0, 0.0, -0.0]),
        ("tanh", [1e-45, 1e38, -20.0], [1e-45, 1.0, -1.0]),
        ("erf", [NAN, INF, -INF, 0.0, -0.0], [NAN, 1.0, -1.0, 0.0, -0.0]),
        ("erf", [1e-40, 1e38, -20.0], [1.128379e-40, 1.0, -1.0]),
        ("sigmoid", [NAN, INF, -INF, 0.0, -0.0], [NAN, 1.0, 0.0, 0.5, 0.5]),
        ("sigmoid", [-100.0, 100.0, -120.0], [3.8e-44, 1.0, 0.0]),
        ("sin", [NAN, INF, 0.0], [NAN, NAN, 0.0]),
    ],
)
@pytest.mark.parametrize("target", [NATIVE, UNFUSED], ids=lambda t: t.name)
def test_special_values(
    name: str, x: list[float], expected: list[float], target: Target
) -> None:
    result = apply(name, target.lanes, target, np.array(x, np.float32))
    wanted = np.array(expected, np.float32)
    np.testing.assert_allclose(result, wanted, rtol=2e-6, atol=1e-45)
    numbers = ~np.isnan(wanted)
    np.testing.assert_array_equal(
        np.signbit(result[numbers]), np.signbit(wanted[numbers])
    )


def test_results_never_leave_their_range() -> None:
    x = samples()
    assert np.abs(apply("tanh", NATIVE.lanes, NATIVE, x)).max() == 1
    assert np.abs(apply("erf", NATIVE.lanes, NATIVE, x)).max() == 1
    sigmoid = apply("sigmoid", NATIVE.lanes, NATIVE, x)
    assert (sigmoid.min(), sigmoid.max()) == (0, 1)


def test_pow_takes_two_arguments() -> None:
    x = np.array([2.0, 9.0, -2.0, 0.0], np.float32)
    z = np.array([10.0, 0.5, 3.0, 0.0], np.float32)
    np.testing.assert_array_equal(
        apply("pow", NATIVE.lanes, NATIVE, x, z), [1024.0, 3.0, -8.0, 1.0]
    )


@pytest.mark.parametrize("target_name", ["x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("name", sorted(ARITY))
def test_compiles_without_calls_for_other_machines(name: str, target_name: str) -> None:
    target = Target.parse(target_name)
    symbol, definition = function_text(name, target.lanes, fma=target.fma)
    exported = definition.replace("define internal", "define")
    assembly = emit_assembly(exported, target)
    assert symbol in assembly
    calls_libm = name in ("cos", "pow", "sin")
    assert any(call in assembly for call in ("callq", "\tbl\t")) == calls_libm


def test_generic_code_needs_no_features() -> None:
    generic = Target.parse("generic")
    assert "llvm.fma" not in function_text("exp", 4, fma=generic.fma)[1]
    x = np.linspace(-5, 5, 33, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert ulps(apply("exp", 4, generic, x), exact).max() <= LARGEST_ULP["exp"]


@pytest.mark.parametrize(
    ("name", "lanes", "args", "message"),
    [
        ("gamma", 8, ["%x"], "no vector function 'gamma'; known are cos, erf"),
        ("exp", 3, ["%x"], r"'exp' of 3 lanes; allowed are \(1, 4, 8, 16\)"),
        ("pow", 8, ["%x"], "'pow' takes 2 arguments, got 1"),
    ],
)
def test_wrong_requests_are_refused(
    name: str, lanes: int, args: list[str], message: str
) -> None:
    with pytest.raises(CodegenFailed, match=message):
        inline_text(name, lanes, args, lambda: "%n", fma=True)
