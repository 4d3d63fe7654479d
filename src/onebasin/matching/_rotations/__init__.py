"""Coordinate descent over all maps of a symmetry: permutations, signs, scales and rotations."""
