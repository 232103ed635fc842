"""Rewrites of tensor programs that passes are put together from, by theme.

rewriting.py    the walk, and small questions about values
"""
