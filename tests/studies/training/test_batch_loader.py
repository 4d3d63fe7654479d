import pytest
import torch

from onebasin.data.examples import Pixels, Tokens
from onebasin_studies.training import Dataset, train
from onebasin_studies.training.batch_loader import BatchLoader
from tests.studies.training.networks import assert_close

GENERATOR = torch.Generator().manual_seed(0)
BYTES = torch.randint(256, (20, 3, 4, 4), generator=GENERATOR, dtype=torch.uint8)
KEPT = {
    "tensor": torch.randn(20, 5, generator=GENERATOR),
    "gray": Pixels(BYTES[:, :1].contiguous(), (0.13,), (0.31,)),
    "colors": Pixels(BYTES, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)),
    "texts": Tokens(torch.randint(9, (20, 7), generator=GENERATOR, dtype=torch.int32), 9),
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_batches_are_normalized_examples(kept):
    gatherer = BatchLoader(kept)
    for rows in (torch.tensor([[3, 0], [19, 3]]), torch.tensor([[1], [2]])):
        expected = kept[rows.flatten()].unflatten(0, rows.shape)
        assert torch.equal(gatherer.load(rows), expected)


def test_training_on_bytes_gives_the_same_network():
    from onebasin.networks import MLP

    labels = torch.arange(20) % 3
    by_bytes = Dataset(
        "bytes",
        KEPT["colors"],
        labels,
        test_inputs=KEPT["colors"],
        test_labels=labels,
        num_classes=3,
    )
    whole = Dataset(
        "whole",
        KEPT["colors"][:],
        labels,
        test_inputs=KEPT["colors"][:],
        test_labels=labels,
        num_classes=3,
    )
    mlp = MLP(in_features=48, width=5, depth=1, num_classes=3)
    for a, b in zip(
        train(mlp, by_bytes, seeds=[0, 1], epochs=2, batch_size=6, evaluate=True),
        train(mlp, whole, seeds=[0, 1], epochs=2, batch_size=6, evaluate=True),
        strict=True,
    ):
        assert_close(a.params, b.params)
        assert a.history[-1].test_loss == pytest.approx(b.history[-1].test_loss, rel=1e-5)
    assert "train_inputs" not in vars(by_bytes)
