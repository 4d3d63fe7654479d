"""Early stops, histories, evaluation during training, unsupported engines."""

import math

import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin_studies.training import Dataset, Recipe, train
from onebasin_studies.training.grouping import _cut
from onebasin_studies.training.recipe import learning_rate_at
from onebasin_studies.training.stacks import initialized
from tests.studies.training.networks import assert_close, blobs, mlp, noisy, normed


def test_network_stops_without_affecting_others():
    options = {"epochs": 40, "batch_size": 10, "learning_rate": 0.01}
    data = blobs()
    free = train(mlp(), data, seeds=range(4), stop_loss=None, group_size=4, **options)
    limit = sorted(network.losses[19] for network in free)[1] + 1e-4
    found = train(mlp(), data, seeds=range(4), stop_loss=limit, group_size=4, **options)
    lengths = {len(network.losses) for network in found}
    assert len(lengths) > 1
    for network, whole in zip(found, free, strict=True):
        stop = next((i for i, loss in enumerate(whole.losses) if loss < limit), None)
        assert network.status == ("finished" if stop is None else "converged")
        assert len(network.losses) == (40 if stop is None else stop + 1)
        assert network.losses == pytest.approx(whole.losses[: len(network.losses)], rel=1e-2)


def test_diverged_network_leaves_its_group():
    found = train(
        mlp(), blobs(), seeds=[0, 1], epochs=30, optimizer="sgd", learning_rate=1e30, batch_size=9
    )
    assert {network.status for network in found} == {"diverged"}
    assert all(len(network.history) < 30 for network in found)
    assert not math.isfinite(found[0].losses[-1])
    assert found[0].rows()[-1]["loss"] is None


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_history_matches_the_networks(engine):
    data = blobs()
    a, _ = train(mlp(), data, seeds=[0, 1], epochs=2, evaluate=True, engine=engine)
    model = mlp()
    model.load_state_dict(a.params)
    with torch.no_grad():
        outputs = model(data.test_inputs)
    loss = nn.functional.cross_entropy(outputs, data.test_labels)
    wrong = (outputs.argmax(1) != data.test_labels).double().mean()
    assert a.history[-1].test_loss == pytest.approx(float(loss), rel=1e-5)
    assert a.history[-1].test_error == pytest.approx(float(wrong))
    assert [row.epoch for row in a.history] == [1, 2]
    assert a.seconds == pytest.approx(sum(row.seconds for row in a.history))
    # One batch an epoch: what is met on the way is the network before the step.
    first = initialized(mlp(), 0)
    with torch.no_grad():
        whole = nn.functional.cross_entropy(first(data.train_inputs), data.train_labels)
    assert a.losses[0] == pytest.approx(float(whole), rel=1e-5)


def test_plots_are_drawn():
    from matplotlib.figure import Figure

    (network,) = train(mlp(), blobs(), seeds=[0], epochs=3, evaluate=True)
    ax = Figure().subplots()
    network.plot(ax, metric="error", label="a")
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 3]


def test_engine_depends_on_the_operators_of_the_network():
    def engine(network):
        (found,) = train(network, blobs(), seeds=[0], epochs=1)
        return found.engine

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)
            self.last = nn.Linear(6, 3)

        def forward(self, x):
            return self.last(torch.relu(self.inner(x.view(len(x), 6))))

    class Branch(Odd):
        def forward(self, x):
            return super().forward(x) if x.sum() > 1e9 else self.last(self.inner(x).sin())

    assert {engine(network) for network in (mlp(), Odd(), noisy(), normed())} == {"vmap"}
    (found,) = train(Branch(), blobs(), seeds=[0], epochs=1)
    assert found.engine == "loop"
    assert "vmap does not support it" in found.reason


def test_function_without_vmap_support_uses_the_loop():
    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.relu()

        @staticmethod
        def backward(ctx, slope):
            return -slope

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)
            self.last = nn.Linear(6, 3)

        def forward(self, x):
            return self.last(Reversed.apply(self.inner(x)))

    (found,) = train(Odd(), blobs(), seeds=[0], epochs=1)
    assert found.engine == "loop"


def test_unsupported_engine_raises():
    class Branch(nn.Linear):
        def forward(self, x):
            return super().forward(x) if x.sum() > 1e9 else super().forward(x).sin()

    with pytest.raises(OneBasinError, match="engine 'vmap' does not support this network: "):
        train(Branch(6, 3), blobs(), seeds=[0], engine="vmap")
    with pytest.raises(OneBasinError, match="engine is 'chain'"):
        train(mlp(), blobs(), seeds=[0], engine="chain")  # type: ignore[arg-type]


def test_invalid_options_raise():
    with pytest.raises(OneBasinError, match="unknown option 'epoch'; a recipe has epochs, "):
        train(mlp(), blobs(), seeds=[0], epoch=3)
    with pytest.raises(OneBasinError, match=r"seeds \[1, 1\] are not distinct"):
        train(mlp(), blobs(), seeds=[1, 1])
    with pytest.raises(OneBasinError, match="the network cannot be run on blobs, whose inputs"):
        train(nn.Linear(7, 3), blobs(), seeds=[0])
    with pytest.raises(
        OneBasinError, match="labels of blobs reach 2, but the network has 2 outputs"
    ):
        train(nn.Linear(6, 2), blobs(), seeds=[0])
    with pytest.raises(OneBasinError, match="the network has no parameters"):
        train(nn.Flatten(), blobs(), seeds=[0])
    with pytest.raises(OneBasinError, match=r"betas is \(0\.9, 1\.5\)"):
        Recipe(betas=(0.9, 1.5))
    with pytest.raises(OneBasinError, match="nesterov needs momentum"):
        Recipe(optimizer="sgd", nesterov=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"betas": (0.9,)}, r"betas is \(0.9,\); it must be two numbers of at least 0 and below 1"),
        ({"betas": [0.9, 0.99, 0.999]}, r"betas is \(0.9, 0.99, 0.999\); it must be two numbers"),
        ({"betas": (-0.9, 0.9)}, r"betas is \(-0.9, 0.9\); it must be two numbers"),
        ({"betas": 0.9}, r"betas is 0.9; it must be two numbers"),
        ({"learning_rate": "a"}, "learning_rate is 'a'; it must be at least 0 and finite"),
        ({"momentum": "a", "optimizer": "sgd"}, "momentum is 'a'; it must be at least 0 and below"),
        ({"milestones": "80", "schedule": "steps"}, "milestones is '80'; it must be epochs above"),
        ({"milestones": 80, "schedule": "steps"}, "milestones is 80; it must be epochs above 0"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number of at least 0"),
        (
            {"epochs": 4, "milestones": (2, 4), "schedule": "steps"},
            "milestones are 2, 4, but there are 4 epochs; all must be below",
        ),
        (
            {"epochs": 4, "warmup_epochs": 4.5},
            "warmup_epochs is 4.5, but there are 4 epochs; it must not be larger",
        ),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds is -1; it must be at least 0 and finite"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0; it must be a whole number of at least 1"),
        ({"group_size": -1}, "group_size is -1; it must be a whole number of at least 1"),
        ({"checkpoints": ""}, "checkpoints is empty; name a folder, '.' for the working one"),
    ],
)
def test_nonfinite_numbers_raise(options, text):
    with pytest.raises(OneBasinError, match=f"train: {text}"):
        train(mlp(), blobs(), seeds=[0], **options)


def test_schedule_fits_the_epochs():
    options = {"schedule": "steps", "warmup_epochs": 4}
    assert Recipe(epochs=4, milestones=(3.5,), **options).warmup_epochs == 4
    assert Recipe(epochs=0, milestones=(80, 120), **options).epochs == 0
    base = Recipe(epochs=160, milestones=(80, 120), **options)
    with pytest.raises(OneBasinError, match="milestones are 80, 120, but there are 100 epochs"):
        base.replace(epochs=100)


def test_frozen_networks_and_single_examples_raise():
    with pytest.raises(OneBasinError, match="all parameters of the network are frozen"):
        train(mlp().requires_grad_(False), blobs(), seeds=[0])
    single = "normalization over a batch needs two examples, but batch_size is 1 and blobs has 83"
    with pytest.raises(OneBasinError, match=single):
        train(normed(), blobs(), seeds=[0], batch_size=1)
    assert train(mlp(), blobs(), seeds=[0], batch_size=1, epochs=1)[0].losses
    part = mlp()
    part[0].requires_grad_(False)
    (found,) = train(part, blobs(), seeds=[0], epochs=1)
    assert torch.equal(found.params["0.weight"], initialized(part, 0)[0].weight)


def test_function_can_build_the_network():
    found = train(mlp, blobs(), seeds=[2, 3], epochs=1)
    again = train(mlp, blobs(), seeds=[3], epochs=1)
    assert_close(found[1].params, again[0].params)
    torch.manual_seed(3)
    (initial,) = train(mlp, blobs(), seeds=[3], epochs=0)
    assert_close(initial.params, mlp().state_dict())


def test_augmentation_is_separate():
    data = blobs()

    def jitter(inputs, generator):
        return inputs + torch.randn(inputs.shape, generator=generator)

    plain = train(mlp(), data, seeds=[0, 1], epochs=2)
    both = train(mlp(), data, seeds=[0, 1], epochs=2, augment=jitter, group_size=2)
    (alone,) = train(mlp(), data, seeds=[1], epochs=2, augment=jitter)
    assert_close(both[1].params, alone.params)
    assert both[1].losses != plain[1].losses


def test_half_precision_is_close():
    data = blobs()
    (whole,) = train(mlp(), data, seeds=[0], epochs=3, batch_size=20)
    (half,) = train(mlp(), data, seeds=[0], epochs=3, batch_size=20, precision="bfloat16")
    assert half.engine == "vmap"
    assert half.params["0.weight"].dtype == torch.float32
    assert half.losses != whole.losses
    assert half.losses == pytest.approx(whole.losses, rel=0.02)


def test_callback_receives_every_epoch_of_a_group():
    seen = []
    train(mlp(), blobs(), seeds=range(5), epochs=2, group_size=2, on_epoch_end=seen.append)
    ends = {found.group: found for found in seen}
    assert [ends[number].seeds for number in sorted(ends)] in (
        [(0, 1), (2, 3), (4,)],
        [(0, 1), (2,), (3,), (4,)],
    )
    assert all(found.epoch == found.epochs == 2 for found in ends.values())


def test_groups_have_similar_sizes():
    assert _cut(range(7), 3) == ((0, 1, 2), (3, 4), (5, 6))
    assert _cut(range(2), 2) == ((0,), (1,))


def test_single_last_example_is_omitted():
    data = blobs()
    one = Dataset(
        "one",
        data.train_inputs[:21],
        data.train_labels[:21],
        test_inputs=data.test_inputs,
        test_labels=data.test_labels,
        num_classes=3,
    )
    (found,) = train(normed(), one, seeds=[0], epochs=2, batch_size=10)
    assert found.params["1.num_batches_tracked"] == 4


def test_learning_rates():
    steps = Recipe(epochs=4, schedule="steps", milestones=(1, 3), decay=0.5, learning_rate=1.0)
    assert [learning_rate_at(steps, step, 2) for step in range(8)] == [
        1,
        1,
        0.5,
        0.5,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    warm = Recipe(epochs=4, warmup_epochs=2, learning_rate=1.0)
    assert [learning_rate_at(warm, step, 2) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    cosine = Recipe(epochs=2, schedule="cosine", learning_rate=1.0)
    rates = [learning_rate_at(cosine, step, 50) for step in range(100)]
    assert rates[0] == 1
    assert rates[50] == pytest.approx(0.5)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.001
