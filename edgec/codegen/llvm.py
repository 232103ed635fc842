"""llvmlite's binding, for the rest of this package.

llvmlite is only partly annotated. Giving the module one explicit type keeps that in
one place; what its functions return is annotated where they are called.
"""

from __future__ import annotations

from typing import Any

import llvmlite
import llvmlite.binding

binding: Any = llvmlite.binding  # Any: partial annotations, see above

LLVMLITE_VERSION: str = llvmlite.__version__
