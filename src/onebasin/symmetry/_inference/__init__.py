"""Inference: finds what may move in any PyTorch model, as type inference over its graph."""

from onebasin.symmetry._inference.tracing import trace

__all__ = ["trace"]
