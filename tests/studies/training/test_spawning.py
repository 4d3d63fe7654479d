import pytest

from onebasin.errors import OneBasinError
from onebasin_studies.training import train
from onebasin_studies.training.train import checked_spawn_epoch
from tests.studies.training.networks import assert_close, assert_differ, blobs, mlp

OPTIONS = {
    "epochs": 4,
    "batch_size": 20,
    "stop_loss": None,
    "optimizer": "sgd",
    "momentum": 0.9,
    "learning_rate": 0.05,
}


def test_child_with_the_seed_of_the_trunk_equals_plain_training():
    data = blobs()
    (plain,) = train(mlp(), data, seeds=[7], **OPTIONS)
    children = train(mlp(), data, seeds=[7, 8], spawn_epoch=2, trunk_seed=7, **OPTIONS)
    assert_close(children[0].params, plain.params)
    assert children[0].losses == pytest.approx(plain.losses, rel=1e-5)


def test_children_share_the_trunk_and_then_differ():
    data = blobs()
    a, b = train(mlp(), data, seeds=[1, 2], spawn_epoch=3, **OPTIONS)
    assert a.losses[:3] == b.losses[:3]
    assert a.losses[3] != b.losses[3]
    assert {row.seed for row in a.history} == {1}
    apart = train(mlp(), data, seeds=[1, 2], **OPTIONS)
    assert_differ(a.params, b.params)

    def distance(x, y):
        return sum(float((x[name] - y[name]).square().sum()) for name in x)

    assert distance(a.params, b.params) < distance(apart[0].params, apart[1].params) / 2


def test_progress_counts_the_trunk():
    calls = []
    train(
        mlp(),
        blobs(),
        seeds=[1, 2],
        spawn_epoch=3,
        progress=lambda *call: calls.append(call),
        **OPTIONS,
    )
    assert calls[:3] == [(2, 8), (4, 8), (6, 8)]
    assert calls[-1] == (8, 8)


@pytest.mark.parametrize("epoch", [0, 4])
def test_spawn_epoch_is_checked(epoch):
    with pytest.raises(OneBasinError, match=f"spawn_epoch is {epoch}, but there are 4 epochs"):
        train(mlp(), blobs(), seeds=[1], spawn_epoch=epoch, **OPTIONS)


@pytest.mark.parametrize("epoch", [1.5, 2.0, True, "2"])
def test_spawn_epoch_is_a_whole_number(epoch):
    with pytest.raises(OneBasinError, match=f"spawn_epoch is {epoch!r}, but .* a whole number"):
        checked_spawn_epoch(epoch, 4)


def test_epochs_of_the_trunk_are_not_saved(tmp_path):
    options = {**OPTIONS, "seeds": [1, 2], "spawn_epoch": 2, "checkpoints": tmp_path}
    with pytest.raises(OneBasinError, match=r"save_epochs has 2, but up to spawn_epoch 2 .*from 3"):
        train(mlp(), blobs(), save_epochs=[3, 2], **options)
    train(mlp(), blobs(), save_epochs="all", **options)
    kept = {file.name for file in (tmp_path / "epochs").iterdir()}
    assert kept == {f"seed-{s}-epoch-{epoch}.safetensors" for s in (1, 2) for epoch in (3, 4)}
