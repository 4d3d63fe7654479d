"""Inference of the symmetry of a model, as type inference over its graph."""

from onebasin.symmetry._inference.tracing import infer_symmetry

__all__ = ["infer_symmetry"]
