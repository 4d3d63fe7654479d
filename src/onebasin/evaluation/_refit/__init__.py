"""Least-squares refit of the layers of a merged network."""
