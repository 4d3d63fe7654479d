"""Inference of the class of each group: the largest set of linear maps it admits."""
