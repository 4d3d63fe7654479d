"""Repairing: a merged network's units given back the statistics that averaging took from them."""

from onebasin.evaluation.repairing.repair import Folded, Method, Repaired, Repairer, repair

__all__ = ["Folded", "Method", "Repaired", "Repairer", "repair"]
