import pytest
import torch

from onebasin.data import Dataset, Pixels, Tokens
from onebasin.errors import OneBasinError

NUM_TRAIN, NUM_TEST, NUM_CLASSES = 60, 24, 6


def toy() -> Dataset:
    """Images whose first byte is their row and whose class is the row modulo six."""

    def split(number):
        raw = torch.zeros(number, 2, 3, 3, dtype=torch.uint8)
        raw[:, 0, 0, 0] = torch.arange(number)
        return Pixels(raw, (0.5, 0.25), (0.5, 0.125)), torch.arange(number) % NUM_CLASSES

    test_inputs, test_labels = split(NUM_TEST)
    return Dataset(
        "toy",
        *split(NUM_TRAIN),
        test_inputs=test_inputs,
        test_labels=test_labels,
        num_classes=NUM_CLASSES,
    )


def rows(examples) -> list[int]:
    return examples.raw[:, 0, 0, 0].tolist()


def test_inputs_are_normalized_by_channel():
    raw = torch.randint(0, 256, (4, 2, 3, 3), dtype=torch.uint8)
    pixels, labels = Pixels(raw, (0.5, 0.25), (0.5, 0.125)), torch.zeros(4).long()
    data = Dataset("two", pixels, labels, test_inputs=pixels, test_labels=labels, num_classes=1)
    inputs = data.train_inputs
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs[:, 0], (raw[:, 0] / 255 - 0.5) / 0.5)
    torch.testing.assert_close(inputs[:, 1], (raw[:, 1] / 255 - 0.25) / 0.125)
    assert data.train_inputs is inputs
    assert data.input_shape == (2, 3, 3)


def test_texts_are_int64():
    tokens = Tokens(torch.tensor([[1, 2], [3, 0]], dtype=torch.int32), vocabulary=4)
    labels = torch.tensor([0, 1])
    data = Dataset("texts", tokens, labels, test_inputs=tokens, test_labels=labels, num_classes=2)
    assert data.train_inputs.dtype == torch.int64
    assert data.train_inputs.tolist() == [[1, 2], [3, 0]]
    assert (data.vocabulary, toy().vocabulary) == (4, None)


def test_a_subset_keeps_the_order_and_the_labels():
    data = toy()
    part = data.subset(20, 10, seed=3)
    for examples, labels, number in (
        (part.train_examples, part.train_labels, 20),
        (part.test_examples, part.test_labels, 10),
    ):
        assert len(set(rows(examples))) == number
        assert rows(examples) == sorted(rows(examples))
        assert labels.tolist() == [row % NUM_CLASSES for row in rows(examples)]
    assert rows(data.subset(20, seed=3).train_examples) == rows(part.train_examples)
    assert rows(data.subset(20, seed=4).train_examples) != rows(part.train_examples)
    assert len(data.train_labels) == NUM_TRAIN


@pytest.mark.parametrize("balanced", [False, True])
def test_a_smaller_subset_is_part_of_a_larger_one(balanced):
    small, large = (toy().subset(n, seed=1, balanced=balanced) for n in (12, 36))
    assert set(rows(small.train_examples)) < set(rows(large.train_examples))


def test_balanced_subsets_have_equally_many_of_each_class():
    part = toy().subset(20, 12, balanced=True)
    assert part.train_labels.bincount().tolist() == [4, 4, 3, 3, 3, 3]
    assert part.test_labels.bincount().tolist() == [2] * 6


def test_impossible_subsets_raise():
    with pytest.raises(OneBasinError, match="subset of 61 train examples of toy; it has 60"):
        toy().subset(61)
    with pytest.raises(OneBasinError, match="subset of 0 test examples of toy"):
        toy().subset(None, 0)
    uneven = toy().with_classes([0, 1, 2])
    with pytest.raises(OneBasinError, match="needs 5 of class 3, which has 0; take a smaller"):
        uneven.subset(30, balanced=True)


def test_with_classes_keeps_only_some_classes():
    part = toy().with_classes([4, 1])
    assert part.train_labels.unique().tolist() == part.test_labels.unique().tolist() == [1, 4]
    assert len(part.train_labels) == 20
    assert part.num_classes == NUM_CLASSES
    with pytest.raises(OneBasinError, match=r"classes \[6\] of toy; give at least one of 0 to 5"):
        toy().with_classes([6])


@pytest.mark.parametrize("fraction", [1.0, 0.2, 0.5])
def test_split_by_class_puts_every_example_into_one_part(fraction):
    first, second = toy().split_by_class(fraction, seed=2)
    both = rows(first.train_examples) + rows(second.train_examples)
    assert sorted(both) == list(range(NUM_TRAIN))
    counts = first.train_labels.bincount(minlength=NUM_CLASSES).tolist()
    assert counts == [round(10 * fraction)] * 3 + [round(10 * (1 - fraction))] * 3
    for part in (first, second):
        assert part.train_labels.tolist() == [r % NUM_CLASSES for r in rows(part.train_examples)]
        assert len(part.test_labels) == NUM_TEST


def test_a_fraction_of_1_makes_the_classes_disjoint():
    first, second = toy().split_by_class()
    assert first.train_labels.unique().tolist() == [0, 1, 2]
    assert second.train_labels.unique().tolist() == [3, 4, 5]


def test_a_seed_determines_a_split():
    first, again, other = (toy().split_by_class(0.2, seed=s)[0] for s in (0, 0, 1))
    assert rows(first.train_examples) == rows(again.train_examples)
    assert rows(first.train_examples) != rows(other.train_examples)


def test_split_gives_halves_of_every_class():
    first, second = toy().split(0.5)
    assert first.train_labels.bincount().tolist() == second.train_labels.bincount().tolist()
    assert not set(rows(first.train_examples)) & set(rows(second.train_examples))


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_fractions_out_of_range_raise(fraction):
    with pytest.raises(OneBasinError, match=r"invalid fraction .* of toy; pass a number from 0"):
        toy().split_by_class(fraction)
    with pytest.raises(
        OneBasinError, match=r"label noise for a fraction .* pass a fraction from 0"
    ):
        toy().with_label_noise(fraction)


def test_label_noise_changes_exactly_the_fraction_of_labels():
    data = toy()
    noisy = data.with_label_noise(0.3, seed=5)
    assert int((noisy.train_labels != data.train_labels).sum()) == 18
    assert set(noisy.train_labels.tolist()) <= set(range(NUM_CLASSES))
    assert torch.equal(noisy.test_labels, data.test_labels)
    assert torch.equal(data.train_labels, toy().train_labels)
    again, other = (data.with_label_noise(0.3, seed=s).train_labels for s in (5, 6))
    assert torch.equal(again, noisy.train_labels)
    assert not torch.equal(other, noisy.train_labels)


def test_wrong_labels_are_uniform_over_the_other_classes():
    labels = torch.zeros(3000).long()
    inputs = torch.zeros(3000, 1)
    noisy = Dataset(
        "zeros", inputs, labels, test_inputs=inputs, test_labels=labels, num_classes=4
    ).with_label_noise(1.0)
    assert noisy.train_labels.bincount()[0] == 0
    assert noisy.train_labels.bincount()[1:].min() > 900


def test_as_images_and_flattened_are_inverse():
    inputs, labels = torch.randn(3, 16), torch.tensor([0, 1, 0])
    flat = Dataset("flat", inputs, labels, test_inputs=inputs, test_labels=labels, num_classes=2)
    images = flat.as_images()
    assert images.input_shape == (1, 4, 4)
    assert torch.equal(images.flattened().train_inputs, inputs)
    assert images.as_images() is images
    assert flat.flattened() is flat
    with pytest.raises(OneBasinError, match=r"inputs of odd are \(5,\), which are not images"):
        flat.replace(name="odd", train_inputs=inputs[:, :5], test_inputs=inputs[:, :5]).as_images()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"train_labels": torch.zeros(3).long()}, "has 60 train inputs but 3 labels"),
        ({"num_classes": 4}, "train labels of toy are 0 to 5, but there are 4 classes"),
        ({"test_inputs": torch.zeros(NUM_TEST, 2)}, r"shape \(2, 3, 3\) but test .* \(2,\)"),
        ({"test_labels": torch.zeros(NUM_TEST)}, "labels of toy are torch.float32"),
    ],
)
def test_inconsistent_arguments_raise(changes, text):
    with pytest.raises(OneBasinError, match=text):
        toy().replace(**changes)


def test_a_normalization_of_another_number_of_channels_raises():
    with pytest.raises(OneBasinError, match="images have 3 channels, but means"):
        Pixels(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), (0.5,), (0.5,))


def test_inputs_larger_than_the_memory_raise(monkeypatch):
    monkeypatch.setattr("onebasin.data.examples.memory_bytes", lambda: 100)
    with pytest.raises(OneBasinError, match=r"all inputs of toy take .* take a subset, or read"):
        _ = toy().train_inputs
    assert toy().subset(1).train_inputs.shape == (1, 2, 3, 3)


def test_noise_and_splits_of_one_seed_are_independent():
    labels = torch.arange(4000) % 4
    inputs = torch.zeros(4000, 1)
    data = Dataset("zeros", inputs, labels, test_inputs=inputs, test_labels=labels, num_classes=4)
    rows = data.replace(train_inputs=torch.arange(4000.0).unsqueeze(1))
    noisy = rows.with_label_noise(0.2, seed=3)
    parts = [*noisy.split(0.5, seed=3), *noisy.split_by_class(0.2, seed=3)]
    for part in [*parts, noisy.subset(800, seed=3)]:
        truth = labels[part.train_inputs[:, 0].long()]
        assert 0.15 < (part.train_labels != truth).float().mean() < 0.25
