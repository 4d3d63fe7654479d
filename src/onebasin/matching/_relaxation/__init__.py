"""Relaxed permutations: convex combinations of permutations, with gradients."""
