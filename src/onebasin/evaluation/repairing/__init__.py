"""Repair of the activation statistics of merged networks."""

from onebasin.evaluation.repairing.repair import Folded, Method, Repairer, RepairResult, repair

__all__ = ["Folded", "Method", "RepairResult", "Repairer", "repair"]
