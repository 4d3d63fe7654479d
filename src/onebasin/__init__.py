"""Put independently trained neural networks into one basin.

onebasin finds the permutation symmetries of a PyTorch model, moves one network's hidden
units to where another has them, merges the two in weight space and measures the barrier
between them. This module owns the public surface: it re-exports names and defines none.
"""

__version__ = "0.1.0.dev0"

__all__ = ["__version__"]
