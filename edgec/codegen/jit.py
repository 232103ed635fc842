"""LLVM IR text to machine code, and machine code to addresses that can be called.

Only LLVM's code generator runs: instruction selection, register allocation,
scheduling. None of its mid-level passes do; shaping loops is the work of edgec's own
passes. Each compilation has an LLVM context of its own and llvmlite serializes calls
into LLVM, so every function here may be called from several threads at once.

Objects are position independent and use the small code model: constants are one
relative load away, and the same bytes serve the in-process loader and a linker.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from edgec.codegen.host import host_architecture, host_features, why_missing
from edgec.codegen.llvm import binding as llvm
from edgec.errors import CodegenFailed, InvalidTarget
from edgec.target import Target

LIBM_FUNCTIONS = (
    *("ceilf", "cosf", "expf", "floorf", "fmaf", "logf", "nearbyintf", "powf"),
    *("rintf", "roundevenf", "roundf", "sinf", "truncf"),
)
"""What generated code may call in libm."""

LIBC_FUNCTIONS = ("memcpy", "memmove", "memset")
"""What LLVM may call in libc on its own, for large copies."""


def compile_object(llvm_text: str, target: Target, opt: int = 3) -> bytes:
    """Compile LLVM IR text to a relocatable object for `target`.

    `opt` is the effort of the code generator, 0 to 3. The same text, target and effort
    give the same bytes. Raises `CodegenFailed` with LLVM's message if the text does not
    parse or verify, and if it calls a function that `load_object` does not provide.
    """
    machine = _target_machine(target, opt)
    with _parsed(llvm_text, target) as module:
        object_bytes: bytes = machine.emit_object(module)
    return object_bytes


def emit_assembly(llvm_text: str, target: Target, opt: int = 3) -> str:
    """The assembly of what `compile_object` makes. Raises as it does."""
    machine = _target_machine(target, opt)
    machine.set_asm_verbosity(False)
    with _parsed(llvm_text, target) as module:
        assembly: str = machine.emit_assembly(module)
    return assembly


class LoadedObject:
    """An object in memory, linked and executable.

    It must stay alive as long as any address taken from it is used; `close` (or the end
    of its life) unmaps the code.
    """

    def __init__(self, tracker: Any, jit: Any) -> None:  # Any: llvmlite's handles
        self._tracker = tracker
        self._close = weakref.finalize(self, _unload, tracker, jit)
        # At exit the process gives the memory back; a daemon thread may still run it.
        self._close.atexit = False

    def address(self, symbol: str) -> int:
        """Where the exported `symbol` begins."""
        if not self._close.alive:
            raise CodegenFailed(f"no address of '{symbol}': the object is unloaded")
        return self._tracker[symbol]

    def close(self) -> None:
        """Unmap the code; further calls do nothing."""
        self._close()


def load_object(
    object_bytes: bytes, target: Target, symbols: tuple[str, ...]
) -> LoadedObject:
    """Link an object made for `target` into this process and export `symbols`.

    Raises `InvalidTarget` if this machine cannot run code for `target`, naming what it
    lacks, and `CodegenFailed` if a symbol is missing or the object calls anything else
    than the functions of libm and libc listed in this module.
    """
    check_runnable(target)
    _initialize()
    builder = llvm.JITLibraryBuilder().add_object_img(object_bytes)
    for name, address in _library_addresses().items():
        builder.import_symbol(name, address)
    for symbol in symbols:
        builder.export_symbol(symbol)
    jit = llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True)
    try:
        tracker = builder.link(jit, "edgec")
    except RuntimeError as error:
        jit.close()
        raise CodegenFailed(f"object for target '{target.name}': {error}") from error
    return LoadedObject(tracker, jit)


def check_runnable(target: Target) -> None:
    """Raise `InvalidTarget` unless this machine can run code made for `target`."""
    if target.architecture != host_architecture():
        raise InvalidTarget(
            f"code for target '{target.name}' is for {target.architecture} and cannot "
            f"run here: this machine is {host_architecture()}"
        )
    missing = target.missing_on(host_features())
    if missing:
        raise InvalidTarget(
            f"code for target '{target.name}' cannot run here: this machine lacks "
            f"{', '.join(sorted(missing))}{why_missing(missing)}"
        )


@contextmanager
def _parsed(llvm_text: str, target: Target) -> Generator[Any]:  # Any: llvmlite's module
    """Parse and verify, in a context of its own.

    Both are freed here, the module first: left to the garbage collector, the order is
    open after an exception, and freeing a module after its context is a crash.
    """
    with llvm.create_context() as context:
        try:
            module = llvm.parse_assembly(llvm_text, context)
        except RuntimeError as error:
            raise CodegenFailed(f"LLVM cannot parse the program: {error}") from error
        with module:
            _check_module(module)
            module.triple = target.triple
            yield module


def _check_module(module: Any) -> None:  # Any: llvmlite's module
    """Raise `CodegenFailed` unless `module` verifies and calls only what is known."""
    try:
        module.verify()
    except RuntimeError as error:
        raise CodegenFailed(f"LLVM refused the emitted program: {error}") from error
    for function in module.functions:
        name: str = function.name
        if function.is_declaration and not name.startswith("llvm."):
            _check_external(name)


def _check_external(name: str) -> None:
    allowed = (*LIBM_FUNCTIONS, *LIBC_FUNCTIONS)
    if name not in allowed:
        raise CodegenFailed(
            f"the emitted program calls '{name}', which the loader does not provide; "
            f"allowed are {', '.join(allowed)}"
        )


def _target_machine(target: Target, opt: int) -> Any:  # Any: llvmlite's
    _initialize()
    try:
        description = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise InvalidTarget(
            f"target '{target.name}': LLVM has no code generator for {target.triple}"
        ) from error
    return description.create_target_machine(
        cpu=target.cpu,
        features=target.llvm_features,
        opt=opt,
        reloc="pic",
        codemodel="small",
    )


@functools.cache
def _initialize() -> None:
    """Register LLVM's targets, once per process."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def _unload(tracker: Any, jit: Any) -> None:  # Any: llvmlite's handles
    """Free code and linker, in the order that LLVM needs."""
    tracker.close()
    jit.close()


@functools.cache
def _library_addresses() -> dict[str, int]:
    """Addresses of the library functions that generated code may call."""
    libraries = {
        "libm.so.6": LIBM_FUNCTIONS,
        "libc.so.6": LIBC_FUNCTIONS,
    }
    addresses: dict[str, int] = {}
    for library, names in libraries.items():
        handle = ctypes.CDLL(library)
        for name in names:
            address = ctypes.cast(handle[name], ctypes.c_void_p).value
            assert address is not None, f"{library} has '{name}' at address 0"
            addresses[name] = address
    return addresses
