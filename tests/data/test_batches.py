import pytest
import torch

from onebasin.data import Augmentation, LabeledBatches, Pixels, batches
from onebasin.errors import OneBasinError


def numbered(number=10):
    return torch.arange(number).float()[:, None], torch.arange(number)


def test_batches_are_in_order_and_repeatable():
    inputs, labels = numbered()
    found = batches(inputs, labels, 4)
    assert len(found) == 3
    for _ in range(2):
        assert [part.tolist() for _, part in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.equal(torch.cat([part for part, _ in found]), inputs)
    assert found[-1][1].tolist() == [8, 9]
    assert [part.tolist() for _, part in found[1:]] == [[4, 5, 6, 7], [8, 9]]
    with pytest.raises(IndexError):
        found[3]


def test_shuffled_inputs_keep_their_labels():
    inputs, labels = numbered()
    found = batches(inputs, labels, 4, shuffle_seed=1)
    order = [label for _, part in found for label in part.tolist()]
    assert sorted(order) == list(range(10)) and order != list(range(10))
    assert [value for part, _ in found for value in part[:, 0].tolist()] == order
    assert [label for _, part in found for label in part.tolist()] == order
    other = batches(inputs, labels, 4, shuffle_seed=2)
    assert [label for _, part in other for label in part.tolist()] != order


def test_rows_are_read_in_the_given_order():
    inputs, labels = numbered(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    found = LabeledBatches(inputs, labels, 2, order)
    assert [part.tolist() for _, part in found] == [[3, 0], [4, 1], [2]]
    assert torch.cat([part for part, _ in found])[:, 0].tolist() == order.tolist()


def test_bytes_are_normalized_batch_by_batch():
    pixels = Pixels(torch.randint(0, 256, (5, 1, 2, 2), dtype=torch.uint8), (0.5,), (0.25,))
    for seed in (None, 3):
        found = batches(pixels, torch.arange(5), 2, shuffle_seed=seed)
        for inputs, labels in found:
            assert torch.equal(inputs, pixels[:][labels])


def test_a_seed_determines_augmented_batches():
    inputs, labels = torch.randn(6, 1, 8, 8), torch.arange(6)

    def read(seed):
        found = batches(inputs, labels, 3, shuffle_seed=seed, augmentation=Augmentation())
        return torch.cat([part for part, _ in found])

    assert torch.equal(read(1), read(1))
    assert not torch.equal(read(1), read(2))


@pytest.mark.parametrize(
    ("number", "size", "text"),
    [
        (9, 3, "batches: 10 inputs but 9 labels; there must be one label for each input"),
        (10, 0, "batches: size is 0; it must be a whole number of at least 1"),
    ],
)
def test_inconsistent_arguments_raise(number, size, text):
    inputs, labels = numbered()
    with pytest.raises(OneBasinError, match=text):
        batches(inputs, labels[:number], size)
