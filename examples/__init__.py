"""Applications: each folder is a program, `python -m examples.NAME`."""
