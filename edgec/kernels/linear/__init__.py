"""Products of matrices: linear layers, dense and sparse, and matmul."""
