"""Data: what `--data` names, checked on the architecture before any long work."""

from __future__ import annotations

from onebasin.checkpoints import Architecture
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.fitting import check_fits


def check_data(architecture: Architecture, data: Dataset, *, call: str) -> None:
    """Check that an architecture can be run on a dataset.

    Args:
        architecture: with its module.
        data: labelled examples.
        call: the command, for the message.

    Raises:
        OneBasinError: when it cannot, or its outputs are not one for each class.
    """
    check_fits(
        architecture.module,
        data.test_inputs[:2],
        data,
        call=call,
        name=architecture.name,
        remedy="another --arch-arg",
    )
