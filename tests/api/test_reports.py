"""Reports of evaluations as text."""

import pytest

from onebasin.api.reports import DistanceReport
from onebasin.evaluation.output_distances import OutputDistance


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["A", "B"], "(distance from the mean output of A and B; the best constant output has"),
        (list("abcde"), "(distance from the mean output of all inputs; the best constant output"),
    ],
)
def test_distances_name_their_reference(names, text):
    distances = {"A": OutputDistance(0.5, 0.75, 20)}
    *table, note = DistanceReport("words", "test", distances, names).to_text().splitlines()
    assert table[-1].split() == ["A", "0.5000", "75.00%"]
    assert note.startswith(text)
