import itertools

import pytest
import torch
from torch import nn

from onebasin.checkpoints import MLP
from onebasin.data.datasets import load_digits
from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.interpolation import interpolate
from onebasin.matching import match_weights
from onebasin.symmetry import infer_symmetry
from onebasin_studies.training.subspaces import Subspace, _Learner, train_subspace
from onebasin_studies.training.train import train

DATA = load_digits()
NETWORK = MLP(depth=1, width=64)
TRAIN = evaluator(DATA.train_inputs, DATA.train_labels)


@pytest.fixture(scope="module")
def line() -> Subspace:
    return train_subspace(NETWORK, DATA, epochs=30, learning_rate=3e-3)


def cosine(one, other):
    flat = [
        torch.cat([t.flatten() for t in corner.values() if t.ndim > 1]) for corner in (one, other)
    ]
    return torch.cosine_similarity(*flat, dim=0).item()


def test_whole_line_is_trained_and_endpoints_differ(line):
    apart = train(NETWORK, DATA, seeds=[0, 1], epochs=30, learning_rate=3e-3)
    curve = interpolate(NETWORK, *line.corners, TRAIN, num_points=9)
    naive = interpolate(NETWORK, apart[0].params, apart[1].params, TRAIN, num_points=9)
    assert max(curve.errors) < 0.02
    assert curve.barrier() < 0.05 * naive.barrier()
    assert line.losses[-1] < 0.1 < line.losses[0]


def test_endpoints_are_similar_without_the_penalty(line):
    free = train_subspace(NETWORK, DATA, epochs=10, learning_rate=3e-3, penalty=0.0)
    assert free.cosines[-1] > 0.2
    assert line.cosines[9] < 0.02
    for subspace in (free, line):
        assert 0 <= subspace.cosines[-1] <= 1
    assert line.cosines[-1] == pytest.approx(cosine(*line.corners) ** 2, abs=1e-3)


def test_interior_of_a_simplex_is_trained():
    simplex = train_subspace(NETWORK, DATA, num_corners=3, epochs=30, learning_rate=3e-3)
    assert len(simplex.corners) == 3
    for shares in (None, [0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [0.0, 0.0, 1.0]):
        network = MLP(depth=1, width=64)
        network.load_state_dict(simplex.point(shares))
        assert TRAIN(network).error < 0.03
    for one, other in itertools.combinations(simplex.corners, 2):
        assert cosine(one, other) ** 2 < 0.02


def test_line_can_start_at_an_aligned_pair():
    a, b = (each.params for each in train(NETWORK, DATA, seeds=[0, 1], epochs=5))
    symmetry = infer_symmetry(NETWORK, (DATA.train_inputs[:2],))
    aligned = match_weights(symmetry, a, b).permutation.apply(b)
    kept = {name: tensor.clone() for name, tensor in a.items()}
    before = train_subspace(NETWORK, DATA, start=[a, aligned], epochs=0)
    assert torch.equal(before.corners[0]["layers.0.weight"], a["layers.0.weight"])
    after = train_subspace(NETWORK, DATA, start=[a, aligned], epochs=5)
    losses = [
        interpolate(NETWORK, *each.corners, TRAIN, num_points=3).losses[1]
        for each in (before, after)
    ]
    assert losses[1] < losses[0]
    assert all(torch.equal(a[name], tensor) for name, tensor in kept.items())


def test_seed_determines_the_result():
    found = [train_subspace(NETWORK, DATA, epochs=1, seed=seed) for seed in (3, 3, 4)]
    weights = [each.corners[1]["layers.0.weight"] for each in found]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert found[0].losses == found[1].losses


def test_arguments_and_random_state_are_unchanged():
    before = {name: tensor.clone() for name, tensor in NETWORK.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train_subspace(NETWORK, DATA, epochs=1)
    assert torch.equal(torch.rand(3), expected)
    for name, tensor in NETWORK.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_each_corner_has_its_statistics():
    network = nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    line = train_subspace(network, DATA, epochs=8, learning_rate=3e-3)
    for corner in line.corners:
        inputs = DATA.train_inputs
        mean = (inputs @ corner["0.weight"].T + corner["0.bias"]).mean(0)
        torch.testing.assert_close(corner["1.running_mean"], mean, rtol=0.05, atol=0.05)
        network.load_state_dict(corner)
        assert TRAIN(network).error < 0.1
    assert not torch.equal(*(corner["1.running_mean"] for corner in line.corners))


def test_tied_tensors_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 64)
            self.down.weight = self.up.weight
            self.out = nn.Linear(64, 10)

        def forward(self, x):
            return self.out(self.down(self.up(x).relu()))

    line = train_subspace(Tied(), DATA, epochs=1)
    for corner in line.corners:
        assert torch.equal(corner["up.weight"], corner["down.weight"])
    assert set(line.corners[0]) == set(Tied().state_dict())


def test_an_optimizer_can_be_given():
    made = []

    def optimizer(params):
        made.append(torch.optim.SGD(params, lr=0.1, momentum=0.9))
        return made[0]

    line = train_subspace(NETWORK, DATA, epochs=3, optimizer=optimizer)
    assert made[0].param_groups[0]["params"][0].shape == (2, 64, 64)
    assert line.losses[-1] < line.losses[0]


def test_points_of_the_line(line):
    middle, end = line.point(), line.point([0.0, 1.0])
    a, b = (corner["layers.1.bias"] for corner in line.corners)
    torch.testing.assert_close(middle["layers.1.bias"], (a + b) / 2)
    assert torch.equal(end["layers.1.bias"], b)
    for shares in ([1.0], [0.5, 0.6]):
        with pytest.raises(OneBasinError, match="for 2 corners; give one for each, with a sum"):
            line.point(shares)


def test_rows_and_picture(line, tmp_path):
    rows = line.rows()
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] == line.losses[-1]
    line.save(tmp_path / "line.csv")
    line.save(tmp_path / "line.png")
    assert (tmp_path / "line.csv").read_text().startswith("seed,epoch,loss,cosine_squared\n")


def test_frozen_parameters_do_not_learn():
    network = MLP(depth=1, width=8)
    frozen = next(iter(network.parameters()))
    frozen.requires_grad_(False)
    starts = [MLP(depth=1, width=8).state_dict() for _ in range(2)]
    found = train_subspace(network, DATA, start=starts, epochs=1)
    for start, corner in zip(starts, found.corners, strict=True):
        same = {name for name in start if torch.equal(start[name], corner[name])}
        assert same == {next(iter(start))}
    with pytest.raises(OneBasinError, match=r"^train_subspace: all parameters .* are frozen"):
        train_subspace(network.requires_grad_(False), DATA, epochs=1)


def test_progress_counts_epochs():
    calls = []
    train_subspace(NETWORK, DATA, epochs=2, progress=lambda *done: calls.append(done))
    assert calls == [(1, 2), (2, 2)]


def test_invalid_arguments_raise(line):
    with pytest.raises(OneBasinError, match="train_subspace: the number of corners is 1; it"):
        train_subspace(NETWORK, DATA, num_corners=1)
    for penalty in (-1.0, float("nan"), float("inf")):
        with pytest.raises(OneBasinError, match=f"penalty is {penalty}; it must be at least 0"):
            train_subspace(NETWORK, DATA, penalty=penalty)
    with pytest.raises(OneBasinError, match="train_subspace: epochs is -1; it must be a whole num"):
        train_subspace(NETWORK, DATA, epochs=-1)
    with pytest.raises(OneBasinError, match="train_subspace: batch_size is 0; it must be a whole"):
        train_subspace(NETWORK, DATA, batch_size=0)
    with pytest.raises(OneBasinError, match=r"'layers.0.weight' is missing"):
        start = [{"layers.0.bias": torch.zeros(64)}] * 2
        train_subspace(NETWORK, DATA, start=start)
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(OneBasinError, match=f"learning_rate is {rate}; it must be at least 0"):
            train_subspace(NETWORK, DATA, learning_rate=rate)
    nothing = DATA.replace(train_inputs=DATA.train_inputs[:0], train_labels=DATA.train_labels[:0])
    with pytest.raises(OneBasinError, match="train_subspace: digits has no training examples"):
        train_subspace(NETWORK, nothing)
    with pytest.raises(OneBasinError, match="train_subspace: the network cannot be run on digits"):
        train_subspace(nn.Linear(3, 3), DATA)
    with pytest.raises(
        OneBasinError, match="labels of digits reach 9, but the network has 3 outputs"
    ):
        train_subspace(nn.Linear(64, 3), DATA)
    with pytest.raises(OneBasinError, match="normalization over a batch needs two examples, but b"):
        train_subspace(normed(), DATA, batch_size=1)


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))


@pytest.mark.parametrize(("network", "num_met"), [(normed(), 20), (NETWORK, 21)])
def test_single_last_example_is_omitted_with_batchnorm(network, num_met, monkeypatch):
    met, run = [], _Learner._run

    def watched(self, inputs, generator):
        met.append(len(inputs))
        return run(self, inputs, generator)

    monkeypatch.setattr(_Learner, "_run", watched)
    line = train_subspace(network, DATA.subset(21), epochs=2, batch_size=10)
    assert sum(met) == 2 * num_met
    assert all(torch.isfinite(tensor).all() for tensor in line.point().values())
    assert len(line.losses) == 2
