"""Post-training quantization: torch models to programs with integer weights and ranges.

Knows nothing of compiling: what comes out is an ordinary `ExportedProgram` in torch's
own terms (`quantized_decomposed`), which runs in eager torch as well.
"""
