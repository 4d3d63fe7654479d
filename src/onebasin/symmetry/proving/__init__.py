"""Proving: a symmetry leaves a network's function as it is, shown on the module itself.

Runs the module in float64 at a generic point of parameter space, with all groups permuted
and, as negative controls, with layouts broken on purpose.
"""

from onebasin.symmetry.proving.proof import Proof, prove

__all__ = ["Proof", "prove"]
