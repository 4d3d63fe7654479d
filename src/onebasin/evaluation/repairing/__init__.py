"""Repair of the activation statistics of merged networks."""

from onebasin.evaluation.repairing.repair import (
    ActivationRepair,
    Folded,
    Method,
    RepairResult,
    repair,
)

__all__ = ["ActivationRepair", "Folded", "Method", "RepairResult", "repair"]
