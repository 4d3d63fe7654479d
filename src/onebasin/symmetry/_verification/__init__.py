"""Verification of a symmetry on the original module.

Runs the module in float64 at generic parameters with all groups permuted. Negative
controls leave one group unpermuted on one of its tensors.
"""

from onebasin.symmetry._verification.verification import Verification, verify

__all__ = ["Verification", "verify"]
