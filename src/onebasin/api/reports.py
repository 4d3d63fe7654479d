"""Reports of evaluations: a table of loss and error of all networks, and notes on weak ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from onebasin._text import columns
from onebasin.api._networks import CONSTANT
from onebasin.api._reporter import Reporter
from onebasin.evaluation.baselines import Baseline
from onebasin.evaluation.evaluator import Evaluation
from onebasin.evaluation.output_distances import OutputDistance
from onebasin.evaluation.results import plain_number

CAUSES = "check the normalization, the order of the labels, the tokenizer and the checkpoint"


@dataclass(frozen=True)
class SplitReport:
    """Evaluations of networks on one split.

    Args:
        split: "train" or "test".
        networks: the evaluations by name, in the order of the table.
        baseline: the best constant prediction, or None.
        per_token: whether every token has a label.
        is_only: whether the data have no other split.
    """

    split: str
    networks: Mapping[str, Evaluation]
    baseline: Baseline | None = None
    per_token: bool = False
    is_only: bool = False

    @property
    def place(self) -> str:
        """The split, for messages; "data" if they have no other."""
        return "data" if self.is_only else f"{self.split} split"

    def weaknesses(self, names: Sequence[str]) -> list[str]:
        """Return descriptions of networks that are not better than a constant prediction.

        Args:
            names: names of the given networks, without computed ones.
        """
        if self.baseline is None:
            return []
        failing = [n for n in names if not self.baseline.has_lower_error(self.networks[n])]
        costly = [
            n
            for n in names
            if n not in failing and not self.baseline.has_lower_loss(self.networks[n])
        ]
        texts = []
        if failing:
            texts.append(
                f"{_joined(failing)} no better than a constant prediction on the {self.place} "
                f"(error {self._shown(failing, 'error')}, constant "
                f"{self.baseline.error:.2%}); {CAUSES}"
            )
        if costly:
            texts.append(
                f"the loss of {_listed(costly)} on the {self.place} is above that of a "
                f"constant prediction ({self._shown(costly, 'loss')}, constant "
                f"{self.baseline.loss:.4f}); {CAUSES}"
            )
        return texts

    def _shown(self, names: Sequence[str], quantity: str) -> str:
        form = "{:.2%}" if quantity == "error" else "{:.4f}"
        return ", ".join(form.format(getattr(self.networks[name], quantity)) for name in names)

    def cells(self, name: str) -> list[str]:
        """Return the cells of the row of a network: loss, and perplexity and error if defined."""
        evaluation = self.baseline if name == CONSTANT else self.networks.get(name)
        if evaluation is None:
            return [""] * len(self.header)
        loss = Evaluation(evaluation.loss, evaluation.error)
        cells = [f"{loss.loss:.4f}"]
        cells += [f"{loss.perplexity:.4g}"] if self.per_token else []
        return cells + ([f"{loss.error:.2%}"] if self.has_errors else [])

    @property
    def has_errors(self) -> bool:
        """Whether labels are classes."""
        return not all(isnan(each.error) for each in self.networks.values())

    @property
    def header(self) -> list[str]:
        """The names of the cells."""
        header = ["loss", *(["perplexity"] if self.per_token else [])]
        return header + (["error"] if self.has_errors else [])

    def to_json(self) -> dict[str, Any]:
        """Return the evaluations as plain JSON values."""
        networks = {
            name: {key: plain_number(value) for key, value in self._numbers(evaluation).items()}
            for name, evaluation in self.networks.items()
        }
        baseline = None if self.baseline is None else self.baseline.to_json()
        return {"networks": networks, "baseline": baseline}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each network, and one for the constant prediction."""
        evaluations = dict(self.networks)
        if self.baseline is not None:
            constant = self.baseline
            evaluations[CONSTANT] = Evaluation(constant.loss, constant.error, constant.num_examples)
        return [
            {"split": self.split, "name": name, **self._numbers(each)}
            for name, each in evaluations.items()
        ]

    def _numbers(self, evaluation: Evaluation) -> dict[str, float]:
        numbers = {
            "loss": evaluation.loss,
            "error": evaluation.error,
            "accuracy": evaluation.accuracy,
        }
        if self.per_token:
            numbers["perplexity"] = evaluation.perplexity
        return {**numbers, "examples": evaluation.num_examples}


@dataclass(frozen=True)
class EvaluationReport:
    """Loss and error of all networks of a command.

    Args:
        data: name of the data.
        splits: one report for each measured split.
    """

    data: str
    splits: Sequence[SplitReport]

    @property
    def has_one_split(self) -> bool:
        """Whether the data have one split, so that tables do not name it."""
        return self.splits[-1].is_only

    def note_weaknesses(self, names: Sequence[str], reporter: Reporter) -> None:
        """Note the given networks that are not better than a constant prediction.

        Args:
            names: names of the given networks.
            reporter: shows the notes for the last split, which is the test split if it exists.
        """
        for text in self.splits[-1].weaknesses(names):
            reporter.note(text)

    def to_text(self) -> str:
        """Return a table: a row for each network, columns for each split."""
        last = self.splits[-1]
        names = [*last.networks, *([CONSTANT] if last.baseline is not None else [])]
        several = len(self.splits) > 1
        header = [
            f"{cell}, {split.split}" if several else cell
            for split in self.splits
            for cell in split.header
        ]
        place = self.data if self.has_one_split else f"{self.data}, {last.place}"
        title = f"on {self.data}" if several else f"on {place} ({_count(last)})"
        rows = [(title, *header)]
        rows += [(name, *(c for split in self.splits for c in split.cells(name))) for name in names]
        return columns(rows)

    def to_json(self) -> dict[str, Any]:
        """Return the evaluations as plain JSON values, by split."""
        return {split.split: split.to_json() for split in self.splits}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each network and split."""
        return [row for split in self.splits for row in split.rows()]


@dataclass(frozen=True)
class DistanceReport:
    """Distances of the outputs of all networks of a command, for data without labels.

    Args:
        data: name of the data.
        split: "train" or "test".
        networks: the distances by name.
        reference: names of the networks whose mean output is the reference.
        is_only: whether the data have no other split.
    """

    data: str
    split: str
    networks: Mapping[str, OutputDistance]
    reference: Sequence[str] = ("A", "B")
    is_only: bool = False

    def note_weaknesses(self, names: Sequence[str], reporter: Reporter) -> None:
        """Do nothing, because this needs labels."""

    def to_text(self) -> str:
        """Return a table: a row for each network."""
        count = next(iter(self.networks.values())).num_examples
        place = self.data if self.is_only else f"{self.data}, {self.split} split"
        rows = [(f"outputs on {place} ({count} rows, no labels)", "distance", "agreement")]
        for name, distance in self.networks.items():
            agreement = "" if isnan(distance.agreement) else f"{distance.agreement:.2%}"
            rows.append((name, f"{distance.distance:.4f}", agreement))
        names = _listed(self.reference) if len(self.reference) <= 4 else "all inputs"
        return (
            f"{columns(rows)}\n(distance from the mean output of {names}; the best constant output "
            "has distance 1)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the distances as plain JSON values, by split."""
        networks = {
            name: {
                "distance": plain_number(distance.distance),
                "agreement": plain_number(distance.agreement),
                "examples": distance.num_examples,
            }
            for name, distance in self.networks.items()
        }
        return {self.split: {"networks": networks, "baseline": None}}


Report = EvaluationReport | DistanceReport


def _count(split: SplitReport) -> str:
    number = next(iter(split.networks.values())).num_examples
    return f"{number} {'tokens' if split.per_token else 'examples'}"


def _joined(names: Sequence[str]) -> str:
    return f"{_listed(names)} {'is' if len(names) == 1 else 'are'}"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
