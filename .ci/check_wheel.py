"""Use an unpacked wheel: `check_wheel.py FOLDER`, run in an empty folder."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

MODULE = "func.func @main() -> i32 {\n %a = arith.constant 1 : i32\n return %a : i32\n}"


def main(wheel: Path) -> None:
    """Import every module of the wheel and run `edgec-opt` from it."""
    top = {path.name for path in wheel.iterdir() if path.suffix != ".dist-info"}
    if top - {"bin"} != {"edgec"}:
        sys.exit(f"the wheel installs {sorted(top)}, expected edgec only")
    for source in sorted(wheel.rglob("*.py")):
        parts = source.relative_to(wheel).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        found = import_module(name).__file__ or ""
        if not Path(found).is_relative_to(wheel):
            sys.exit(f"{name} comes from {found}, not from the wheel")
    Path("one.mlir").write_text(MODULE)
    command = [sys.executable, "-m", "edgec.tools.opt", "one.mlir", "-p", "cse"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    sys.stdout.write(f"{len(sorted(wheel.rglob('*.py')))} modules import\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
