import gc
import weakref
from collections import Counter
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from onebasin.api._repairs import Repair
from onebasin.api._reporter import Reporter
from onebasin.checkpoints import Architecture
from onebasin.checkpoints._lazy import LazyMapping, TensorInfo
from onebasin.data.data import Data
from onebasin.data.datasets import load_digits


class Watched(LazyMapping):
    """A network that counts how often each tensor is read, and how many exist at a time."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__(state)
        self.state = state
        self.reads: Counter[str] = Counter()
        self.most = 0
        self._given: weakref.WeakSet = weakref.WeakSet()

    def metadata(self, name: str) -> TensorInfo:
        return TensorInfo.of(self.state[name])

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.state[name].clone()
        self.reads[name] += 1
        self._given.add(tensor)
        self.most = max(self.most, len(self._given))
        return tensor


def build(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 10))


@pytest.mark.parametrize("method", ["reset", "repair", "rescale", "refit"])
def test_every_tensor_of_the_ends_is_read_once(method):
    module, data = build(0), load_digits().subset(100)
    example = (data.train_inputs[:2],)
    architecture = Architecture("tiny", module.eval(), example, {}, lambda device: build(0))
    ends = [Watched(build(seed).state_dict()) for seed in (0, 1)]
    gc.disable()
    try:
        Repair(method, Data.from_dataset(data)).run(architecture, ends, [0.5, 0.5], Reporter())
    finally:
        gc.enable()
    for end in ends:
        # The suite's check of types looks at the first tensor of every mapping, too.
        assert [end.reads[name] for name in list(end)[1:]] == [1] * (len(end) - 1)
    if method == "reset":
        # At most one tensor is loaded in addition to the averaged one.
        assert all(end.most <= 2 < len(end) for end in ends)
