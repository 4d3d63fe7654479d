"""Verification of a symmetry on the original module.

Runs the module in float64 at generic parameters with all groups permuted. In negative
controls one group is not permuted on one of its tensors.
"""

from onebasin.symmetry._verification.proof import Verification, verify

__all__ = ["Verification", "verify"]
