import math

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin.evaluation.calibration import CalibrationBins, calibrate


def probabilities(num=500, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(num, 4, generator=generator)
    return logits.softmax(1), torch.randint(4, (num,), generator=generator)


def brute_force(p, labels, num_bins):
    """The definition, example by example."""
    confidence, answer = p.double().max(1)
    total, largest = 0.0, 0.0
    for i in range(num_bins):
        inside = (confidence > i / num_bins) & (confidence <= (i + 1) / num_bins)
        if inside.any():
            right = (answer == labels)[inside].double().mean()
            gap = abs(right - confidence[inside].mean()).item()
            total += gap * inside.sum().item() / len(p)
            largest = max(largest, gap)
    return total, largest


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_errors_match_the_definition(num_bins):
    p, labels = probabilities()
    found = calibrate(p, labels, num_bins=num_bins)
    expected, largest = brute_force(p, labels, num_bins)
    assert found.ece == pytest.approx(expected, abs=1e-12)
    assert found.mce == pytest.approx(largest, abs=1e-12)
    assert found.num_examples == 500
    assert len(found.rows()) == num_bins


def test_calibrated_predictions_have_no_error():
    p = torch.tensor([[0.75, 0.25]]).expand(4, 2)
    found = calibrate(p, torch.tensor([0, 0, 0, 1]))
    assert found.ece == 0
    assert calibrate(p, torch.tensor([1, 1, 1, 1])).ece == 0.75


def test_highest_confidence_is_in_the_last_bin():
    found = calibrate(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), num_bins=4)
    assert found.counts == (0, 0, 0, 1)
    # An edge belongs to the bin below it.
    assert calibrate(torch.tensor([[0.5, 0.5]]), torch.tensor([0]), num_bins=4).counts[1] == 1


def test_statistics_are_accumulated_over_batches():
    p, labels = probabilities()
    bins = CalibrationBins(10)
    for rows in torch.arange(500).split(77):
        bins.add(p[rows], labels[rows])
    found, expected = bins.result(), calibrate(p, labels, num_bins=10)
    assert found.counts == expected.counts
    assert found.ece == pytest.approx(expected.ece, abs=1e-12)


def test_examples_without_a_label_do_not_count():
    p, labels = probabilities(20)
    masked = labels.clone()
    masked[5:] = -100
    assert calibrate(p, masked) == calibrate(p[:5], labels[:5])


def test_empty_bins_have_no_numbers():
    row = calibrate(torch.tensor([[0.9, 0.1]]), torch.tensor([0]), num_bins=2).rows()[0]
    assert (row["low"], row["high"], row["count"]) == (0.0, 0.5, 0)
    assert math.isnan(row["confidence"])
    assert math.isnan(row["accuracy"])


def test_diagram_has_a_bar_for_each_filled_bin(tmp_path):
    from matplotlib.figure import Figure

    p, labels = probabilities()
    found = calibrate(p, labels)
    ax = Figure().subplots()
    assert found.plot(ax) is ax
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [accuracy for accuracy in found.accuracies if not math.isnan(accuracy)]
    assert f"{found.ece:.2%}" in ax.texts[0].get_text()
    found.save(tmp_path / "calibration.png")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_probabilities_are_accepted(dtype):
    p, labels = probabilities()
    found = calibrate(p.log().to(dtype).softmax(1), labels)
    assert found.ece == pytest.approx(calibrate(p, labels).ece, abs=0.02)


def test_invalid_probabilities_are_rejected():
    p, labels = probabilities()
    with pytest.raises(OneBasinError, match=r"calibrate: rows are not probabilities .*softmax"):
        calibrate(2 * p, labels)
    with pytest.raises(OneBasinError, match=r"are \(500, 4\) and labels \(3,\)"):
        calibrate(p, labels[:3])
    with pytest.raises(OneBasinError, match="num_bins is 0"):
        calibrate(p, labels, num_bins=0)
    with pytest.raises(OneBasinError, match="the data have no examples"):
        calibrate(p[:0], labels[:0])


def test_labels_outside_of_the_classes_are_rejected():
    halves = torch.full((2, 2), 0.5)
    with pytest.raises(OneBasinError, match=r"^calibrate: labels are 0 to 5, but there are 2"):
        calibrate(halves, torch.tensor([0, 5]))
    with pytest.raises(OneBasinError, match="calibrate: labels are -7 to 1, but there are 2"):
        calibrate(halves, torch.tensor([1, -7]))
    with pytest.raises(OneBasinError, match=r"calibrate: labels are torch.float32; they must be"):
        calibrate(halves, torch.tensor([0.0, 1.0]))
