"""Repairing: a merged network's units given back the statistics that averaging took from them."""

from onebasin.measuring.repairing.repair import Method, Repaired, repair

__all__ = ["Method", "Repaired", "repair"]
