"""Analyses that passes share; they look and never change the IR."""
