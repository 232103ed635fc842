"""LLVM text to objects to addresses, and the errors on the way."""

from __future__ import annotations

import ctypes
import gc
import threading
from dataclasses import replace

import pytest

from edgec.codegen.host import host_architecture, host_features
from edgec.codegen.jit import (
    LIBM_FUNCTIONS,
    check_runnable,
    compile_object,
    emit_assembly,
    load_object,
)
from edgec.errors import CodegenFailed, InvalidTarget
from edgec.target import Target
from tests.guard import run_guarded

NATIVE = Target.native(host_features())
FOREIGN = "aarch64" if host_architecture() == "x86_64" else "x86-64-v3"

ANSWER = "define i32 @answer() { ret i32 42 }"


def call(address: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int32)(address)()


def test_runs_what_it_compiled() -> None:
    loaded = load_object(compile_object(ANSWER, NATIVE), NATIVE, ("answer",))
    assert call(loaded.address("answer")) == 42


@pytest.mark.parametrize("opt", range(4))
def test_same_text_gives_the_same_bytes(opt: int) -> None:
    first = compile_object(ANSWER, NATIVE, opt)
    assert first == compile_object(ANSWER, NATIVE, opt)
    assert call(load_object(first, NATIVE, ("answer",)).address("answer")) == 42


def test_objects_do_not_see_each_other() -> None:
    texts = [f"define i32 @answer() {{ ret i32 {n} }}" for n in range(8)]
    loaded = [
        load_object(compile_object(t, NATIVE), NATIVE, ("answer",)) for t in texts
    ]
    assert [call(each.address("answer")) for each in loaded] == list(range(8))


def test_code_outlives_everything_but_its_owner() -> None:
    loaded = load_object(compile_object(ANSWER, NATIVE), NATIVE, ("answer",))
    gc.collect()
    assert call(loaded.address("answer")) == 42
    loaded.close()
    loaded.close()
    with pytest.raises(CodegenFailed, match="'answer': the object is unloaded"):
        loaded.address("answer")


@pytest.mark.parametrize("name", LIBM_FUNCTIONS)
def test_libm_functions_resolve(name: str) -> None:
    count = {"fmaf": 3, "powf": 2}.get(name, 1)
    parameters = ", ".join(["float"] * count)
    args = ", ".join(["float 1.0"] * count)
    text = f"""
    declare float @{name}({parameters})
    define i32 @answer() {{
      %r = call float @{name}({args})
      %i = fptosi float %r to i32
      ret i32 %i
    }}"""
    loaded = load_object(compile_object(text, NATIVE), NATIVE, ("answer",))
    expected = {"cosf": 0, "expf": 2, "fmaf": 2, "logf": 0, "sinf": 0}.get(name, 1)
    assert call(loaded.address("answer")) == expected


def test_large_copies_resolve() -> None:
    text = """
    @from = internal constant [4096 x i8] zeroinitializer
    @to = internal global [4096 x i8] zeroinitializer
    define i32 @answer(i64 %n) {
      call void @llvm.memcpy.p0.p0.i64(ptr @to, ptr @from, i64 %n, i1 false)
      call void @llvm.memset.p0.i64(ptr @to, i8 7, i64 %n, i1 false)
      call void @llvm.memmove.p0.p0.i64(ptr @from, ptr @from, i64 0, i1 false)
      %v = load i8, ptr @to
      %r = zext i8 %v to i32
      ret i32 %r
    }"""
    loaded = load_object(compile_object(text, NATIVE), NATIVE, ("answer",))
    run = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64)(loaded.address("answer"))
    assert run(4096) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define void @f( {", "LLVM cannot parse the program"),
        ("define i32 @f() { ret i64 0 }", "LLVM cannot parse the program"),
        (
            "declare void @system()\ndefine void @f() { call void @system() ret void }",
            "calls 'system', which the loader does not provide; allowed are ceilf",
        ),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(CodegenFailed) as error:
        compile_object(text, NATIVE)
    assert message in str(error.value)
    with pytest.raises(CodegenFailed):
        emit_assembly(text, NATIVE)


def test_ill_formed_module_fails_verification() -> None:
    # Parses, but %a does not dominate its use.
    text = """
    define i32 @f(i1 %c) {
    entry:
      br i1 %c, label %left, label %right
    left:
      %a = add i32 1, 2
      br label %right
    right:
      ret i32 %a
    }"""
    with pytest.raises(CodegenFailed, match="does not dominate"):
        compile_object(text, NATIVE)


AFTER_AN_ERROR = """
import gc
from edgec.codegen.host import host_features
from edgec.codegen.jit import compile_object
from edgec.errors import CodegenFailed
from edgec.target import Target

target = Target.native(host_features())
for _ in range(20):
    kept = []
    try:
        compile_object("declare void @system()", target)
    except CodegenFailed as error:
        kept += [error, kept]  # a cycle, so that only the collector frees the frames
    del kept
    gc.collect()
"""


def test_errors_leave_no_dangling_module() -> None:
    # The collector frees in any order; a module that outlived its context crashed.
    result = run_guarded(AFTER_AN_ERROR)
    assert result.returncode == 0, result.stderr


def test_missing_symbol_is_named() -> None:
    with pytest.raises(CodegenFailed, match="question"):
        load_object(compile_object(ANSWER, NATIVE), NATIVE, ("question",))


@pytest.mark.parametrize("damaged", [b"", b"not an object", b"\x7fELF" + b"\0" * 64])
def test_damaged_object_is_an_error(damaged: bytes) -> None:
    with pytest.raises(CodegenFailed, match="object for target 'native'"):
        load_object(damaged, NATIVE, ("answer",))


@pytest.mark.parametrize(
    "name", ["x86-64-v3", "x86-64-v4", "x86-64-v4+vnni+amx", "aarch64", "generic"]
)
def test_compiles_for_machines_that_are_not_here(name: str) -> None:
    target = Target.parse(name)
    assert len(compile_object(ANSWER, target)) > 0
    assert "answer" in emit_assembly(ANSWER, target)


def test_foreign_code_does_not_load() -> None:
    target = Target.parse(FOREIGN)
    with pytest.raises(InvalidTarget, match=f"is for {target.architecture} and cannot"):
        load_object(compile_object(ANSWER, target), target, ("answer",))


def test_code_for_missing_features_does_not_load() -> None:
    demanding = replace(NATIVE, features=NATIVE.features | {"avx9", "avx10"})
    with pytest.raises(InvalidTarget, match="this machine lacks avx10, avx9"):
        check_runnable(demanding)


def test_architectures_without_a_code_generator_are_named() -> None:
    target = Target.native(frozenset(), machine="pdp11")
    with pytest.raises(InvalidTarget, match="no code generator for pdp11-"):
        compile_object(ANSWER, target)


def test_generic_code_runs_here() -> None:
    generic = Target.parse("generic")
    loaded = load_object(compile_object(ANSWER, generic), generic, ("answer",))
    assert call(loaded.address("answer")) == 42


def test_threads_may_compile_at_once() -> None:
    results: dict[int, int] = {}

    def work(n: int) -> None:
        text = f"define i32 @answer() {{ ret i32 {n} }}"
        loaded = load_object(compile_object(text, NATIVE), NATIVE, ("answer",))
        results[n] = call(loaded.address("answer"))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n for n in range(8)}


WIDE = """
define void @f(ptr %x, ptr %w) {
  %a = load <16 x float>, ptr %x, align 64
  %s = load float, ptr %w, align 4
  %i = insertelement <16 x float> poison, float %s, i32 0
  %b = shufflevector <16 x float> %i, <16 x float> poison, <16 x i32> zeroinitializer
  %r = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b,
                                          <16 x float> %a)
  store <16 x float> %r, ptr %x, align 64, !nontemporal !0
  ret void
}
!0 = !{i32 1}
"""


def test_code_generator_alone_uses_wide_registers() -> None:
    assembly = emit_assembly(WIDE, Target.parse("x86-64-v4"))
    assert "vfmadd" in assembly
    assert "{1to16}, %zmm" in assembly
    assert "vmovntps\t%zmm" in assembly


def test_code_generator_stays_within_narrow_targets() -> None:
    assembly = emit_assembly(WIDE, Target.parse("x86-64-v3"))
    assert "%ymm" in assembly
    assert "%zmm" not in assembly
