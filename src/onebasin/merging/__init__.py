"""Merging: one network made of several."""

from onebasin.merging.averages import merge, merge_tensors

__all__ = ["merge", "merge_tensors"]
