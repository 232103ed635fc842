"""Train, compress, compile and time a recogniser of handwritten digits."""
