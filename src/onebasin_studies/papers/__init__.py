"""Reproductions of papers, one file per study."""
