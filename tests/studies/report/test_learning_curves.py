import math

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies.report.training import has_curves, learning_curves
from onebasin_studies.training import EpochRow, TrainedNetwork


def trained(*losses):
    rows = tuple(EpochRow(0, i + 1, loss, 0.5, 0.1, 1.0) for i, loss in enumerate(losses))
    return TrainedNetwork(0, {}, rows)


def test_curve_of_a_diverged_network_ends_early():
    networks = [trained(0.5, math.inf), trained(math.nan)]
    assert has_curves(networks)
    loss, _ = learning_curves(networks).axes
    assert loss.lines[0].get_ydata()[0] == 0.5


@pytest.mark.parametrize("networks", [[], [trained()], [trained(math.nan), trained(math.inf)]])
def test_no_curves_without_a_finite_loss(networks):
    assert not has_curves(networks)
    with pytest.raises(OneBasinError, match="learning_curves: no network has an epoch with a fini"):
        learning_curves(networks)
