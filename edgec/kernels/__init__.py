"""Builders of kernels: each spec describes one kernel and builds its function.

A spec is a frozen dataclass of plain values with `build(name, lanes) -> FuncOp`. Equal
specs give equal code, so ops of equal shape share one kernel.
"""
