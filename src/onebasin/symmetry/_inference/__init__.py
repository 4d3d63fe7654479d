"""Inference of the symmetry of a model, as type inference over its graph."""

from onebasin.symmetry._inference.inference import infer_symmetry

__all__ = ["infer_symmetry"]
