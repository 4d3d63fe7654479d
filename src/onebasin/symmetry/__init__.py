"""Symmetry: what may move."""
