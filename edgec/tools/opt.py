"""`edgec-opt`: run passes on IR text or on an exported model, and print the IR.

    edgec-opt model.mlir -p 'fold-batch-norm,filter-kernel-reorder{similarity=2}'
    edgec-opt model.pt2 -p canonicalize-nn --print-ir-after-all --statistics

The usual options of xDSL's opt tool work: `--split-input-file`, `--verify-diagnostics`,
`--print-op-generic` and so on. Nothing heavy is imported before it is needed: torch
only for a `.pt2` file, a dialect or a pass only when the input names it.

Exit codes: 0 done, 1 failed with a reason, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import IO, ClassVar

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.printer import Printer
from xdsl.utils.exceptions import (
    ArgSpecParseError,
    DiagnosticException,
    ParseError,
    ShrinkException,
)
from xdsl.xdsl_opt_main import xDSLOptMain

import edgec
from edgec.context import EdgecContext
from edgec.errors import EdgecError, InvalidInput, PassFailed
from edgec.passes.base import run_pass
from edgec.universe import EDGEC_UNIVERSE

UPSTREAM_DIALECTS = ("arith", "builtin", "func", "math", "memref", "scf", "vector")
"""The dialects of xDSL that edgec's IR uses."""

UPSTREAM_PASSES = ("canonicalize", "cse", "dce")
"""The passes of xDSL that keep every level of edgec's IR legal."""


class EdgecOpt(xDSLOptMain):
    """xDSL's opt tool with edgec's dialects and passes, weights and statistics."""

    version_format: ClassVar[str] = (
        f"edgec-opt {edgec.__version__} (xdsl {{xdsl_version}})"
    )

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__("Run edgec's passes on MLIR text or on a .pt2 model.", args)
        self.weights = self._context().weights
        if self.args.weights is not None:
            self._load_weights(Path(self.args.weights))

    # What is known, all of it lazily

    def register_all_dialects(self) -> None:
        """Register edgec's dialects and the upstream ones its IR uses."""
        from xdsl.dialects import get_all_dialects

        # The first hook that the base class calls after it made a plain context.
        self.ctx = EdgecContext()
        upstream = get_all_dialects()
        for name in UPSTREAM_DIALECTS:
            self.ctx.register_dialect(name, upstream[name])
        for name, factory in EDGEC_UNIVERSE.all_dialects.items():
            self.ctx.register_dialect(name, factory)

    def register_all_passes(self) -> None:
        """Register edgec's passes and xDSL's generic ones."""
        from xdsl.transforms import get_all_passes

        upstream = get_all_passes()
        for name in UPSTREAM_PASSES:
            self.register_pass(name, upstream[name])
        for name, factory in EDGEC_UNIVERSE.all_passes.items():
            self.register_pass(name, factory)

    def register_all_targets(self) -> None:
        """Print MLIR only; `edgec compile --emit` prints LLVM IR and assembly."""
        from xdsl.targets import get_all_targets

        self.available_targets["mlir"] = get_all_targets()["mlir"]

    def register_all_frontends(self) -> None:
        """Read MLIR text and, by extension, exported torch models."""
        super().register_all_frontends()
        self.available_frontends["pt2"] = self._import_pt2

    def register_all_arguments(self, arg_parser: argparse.ArgumentParser) -> None:
        """Add edgec's options to xDSL's."""
        self._arg_parser = arg_parser
        super().register_all_arguments(arg_parser)
        arg_parser.add_argument(
            "--pass-pipeline", dest="passes", metavar="PASSES", help="same as -p"
        )
        arg_parser.add_argument(
            "--weights",
            metavar="FILE",
            help="safetensors file with the arrays that the IR names",
        )
        arg_parser.add_argument(
            "--print-ir-after-all",
            action="store_true",
            help="print the IR after each pass to stderr",
        )
        arg_parser.add_argument(
            "--statistics",
            action="store_true",
            help="print what each pass did, and its seconds, to stderr",
        )
        arg_parser.add_argument(
            "--reproducer",
            metavar="FILE",
            help="where to save the IR before a pass that fails "
            "(default: a new file in the folder for temporary files)",
        )

    # Reading

    def prepare_input(self) -> tuple[list[tuple[IO[bytes], int]], str]:
        """Open the input; the base class says little of a file it does not know."""
        path, known = self.args.input_file, list(self.available_frontends)
        if path and not self.args.frontend and Path(path).suffix[1:] not in known:
            raise InvalidInput(
                f"'{path}' must end in one of {', '.join(f'.{name}' for name in known)}"
                ", or -f must say what it is"
            )
        return super().prepare_input()

    def setup_pipeline(self) -> None:
        """Parse the pass names and options; a mistake there is wrong usage."""
        names = re.findall(r"(?:^|,)\s*([\w-]+)", _bare(self.args.passes))
        unknown = [name for name in names if name not in self.available_passes]
        if unknown:
            close = difflib.get_close_matches(unknown[0], list(self.available_passes))
            hint = f"; did you mean '{close[0]}'?" if close else ""
            self._arg_parser.error(f"argument -p: no pass named '{unknown[0]}'{hint}")
        try:
            super().setup_pipeline()
        except (ValueError, ArgSpecParseError) as error:
            self._arg_parser.error(f"argument -p: {error}")

    def _context(self) -> EdgecContext:
        assert isinstance(self.ctx, EdgecContext)
        return self.ctx

    def _load_weights(self, path: Path) -> None:
        from safetensors import SafetensorError, numpy

        try:
            # Its path type, PathLike, is generic and given without a parameter.
            arrays = numpy.load_file(path)  # pyright: ignore[reportUnknownMemberType]
        except (OSError, SafetensorError) as error:
            raise InvalidInput(f"--weights {path}: {error}") from error
        for name, array in sorted(arrays.items()):
            self.weights.add(name, array)

    def _import_pt2(self, _stream: IO[bytes]) -> ModuleOp:
        if self.args.input_file is None or self.args.split_input_file:
            raise InvalidInput("a .pt2 model is read whole, from a file given by name")
        from edgec.importer import import_model

        # torch logs a traceback before it raises what our message says.
        logging.getLogger("torch").setLevel(logging.CRITICAL)
        # The importer loads what it makes, but must not meet a lazy registration.
        for name in ("builtin", "func", "nn"):
            self.ctx.load_registered_dialect(name)
        return import_model(Path(self.args.input_file), ctx=self._context()).module

    # Running

    def apply_passes(self, prog: ModuleOp) -> None:
        """Run the pipeline; verify, report and print between the passes."""
        between = self.pipeline.callback
        assert between is not None
        passes = self.pipeline.passes
        between(None, prog, passes[0] if passes else None)
        for index, pass_ in enumerate(passes):
            following = passes[index + 1] if index + 1 < len(passes) else None
            before = prog.clone()
            try:
                self._run(pass_, prog)
                between(pass_, prog, following)
            except ShrinkException:
                raise
            except Exception as error:
                raise self._failure(error, index, before) from error

    def _run(self, pass_: ModulePass, prog: ModuleOp) -> None:
        start = time.perf_counter()
        statistics = run_pass(pass_, self.ctx, prog)
        seconds = time.perf_counter() - start
        if self.args.statistics:
            sys.stderr.write(f"{pass_.name}: {seconds:.4f} s\n")
            for name, count in statistics.items():
                sys.stderr.write(f"  {name} = {count}\n")
        if self.args.print_ir_after_all:
            sys.stderr.write(f"// *** IR after {pass_} ***\n{_text(prog)}\n")

    def _failure(self, error: Exception, index: int, before: ModuleOp) -> Exception:
        """The exception to raise for `error` in the pass at `index`."""
        if self.args.verify_diagnostics:
            # The base class prints these and goes on; the test expects the message.
            expected = isinstance(error, DiagnosticException)
            return error if expected else DiagnosticException(str(error))
        name = self.pipeline.passes[index].name
        command = self._save_reproducer(index, before)
        reason = str(error) or type(error).__name__
        return PassFailed(f"pass '{name}' failed: {reason}\nreproduce with: {command}")

    def _save_reproducer(self, index: int, before: ModuleOp) -> str:
        """Save `before` and the weights; return the command that runs the rest."""
        passes = self.pipeline.passes[index:]
        if self.args.reproducer is None:
            folder = tempfile.mkdtemp(prefix="edgec-reproducer-")
            path = Path(folder, f"{passes[0].name}.mlir")
        else:
            path = Path(self.args.reproducer)
        path.write_text(_text(before) + "\n")
        rest = ",".join(str(pass_.spec()) for pass_ in passes)
        command = ["edgec-opt", str(path), "-p", rest]
        if self.weights:
            from safetensors import numpy

            arrays = path.with_suffix(".safetensors")
            # Its path type, PathLike, is generic and given without a parameter.
            numpy.save_file(  # pyright: ignore[reportUnknownMemberType]
                dict(self.weights), arrays
            )
            command += ["--weights", str(arrays)]
        return shlex.join(command)


def _bare(pipeline: str) -> str:
    """The pipeline text without the options in braces."""
    return re.sub(r"\{[^}]*\}", "", pipeline)


def _text(module: ModuleOp) -> str:
    stream = StringIO()
    Printer(stream=stream).print_op(module)
    return stream.getvalue()


def _explain(error: BaseException) -> str:
    notes: list[str] = getattr(error, "__notes__", [])
    return "\n".join([f"edgec-opt: error: {error}", *notes])


def _is_ours(error: BaseException | None) -> bool:
    """Whether the message says enough, so that no traceback is needed."""
    return error is None or isinstance(error, EdgecError | DiagnosticException)


def main(args: Sequence[str] | None = None) -> int:
    """Run the tool with `args` (default: the command line); return the exit code."""
    try:
        EdgecOpt(args).run()
    except (EdgecError, DiagnosticException, ParseError) as error:
        if isinstance(error, PassFailed) and not _is_ours(error.__cause__):
            traceback.print_exception(error.__cause__)
        sys.stderr.write(_explain(error) + "\n")
        return 1
    except UnicodeDecodeError as error:
        sys.stderr.write(f"edgec-opt: error: the input is not UTF-8 text: {error}\n")
        return 1
    except BrokenPipeError:
        # The reader of a pipe left; Python must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        sys.stderr.write(f"edgec-opt: error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 128 + 2  # what shells report for SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
