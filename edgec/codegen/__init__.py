"""Code generation: lane IR to LLVM IR text to machine code. Uses llvmlite."""
