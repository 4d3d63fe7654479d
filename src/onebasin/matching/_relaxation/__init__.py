"""Relaxed permutations: convex combinations, and what can be done with gradients of them."""
