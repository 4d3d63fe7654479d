"""Errors for data that a model cannot be run on."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from onebasin.data._fitting import fit_data
from onebasin.data._read_options import ReadOptions
from onebasin.data._readers.objects import data_of
from onebasin.data.loading import load_data
from onebasin.errors import OneBasinError


class TokenModel(nn.Module):
    """A model with the interface of transformers, for texts of at most 8 tokens."""

    main_input_name = "input_ids"

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(max_position_embeddings=8)
        self.tokens = nn.Embedding(257, 3)
        self.positions = nn.Embedding(8, 3)

    def forward(self, input_ids):
        return self.tokens(input_ids) + self.positions(torch.arange(input_ids.shape[1]))


def fit(model, data):
    return fit_data(model, data, name="net", needs_loss=True, remedy="other net")


def texts(folder, context):
    path = folder / "a.txt"
    path.write_text("some text to read, and more")
    return load_data(str(path), options=ReadOptions(tokenizer="bytes", context=context))


def test_a_context_of_too_many_tokens_raises(tmp_path):
    message = "^data: context= is 9, which exceeds the 8 positions of net; pass at most 8$"
    with pytest.raises(OneBasinError, match=message):
        fit(TokenModel(), texts(tmp_path, 9))


def test_other_errors_of_texts_keep_their_cause(tmp_path):
    model = TokenModel()
    model.tokens = nn.Embedding(5, 3)
    with pytest.raises(OneBasinError, match=r"net cannot be run on a\.txt"):
        fit(model, texts(tmp_path, 8))


def test_numbers_for_a_model_of_tokens_raise():
    message = "^net takes tokens, but digits has numbers; pass text$"
    with pytest.raises(OneBasinError, match=message):
        fit(TokenModel(), load_data("digits"))


def test_labels_without_an_output_raise():
    inputs, labels = torch.randn(40, 4), torch.arange(40) % 10 + 20
    message = "^labels of data reach 29, but net has 10 outputs; choose other data or"
    with pytest.raises(OneBasinError, match=message):
        fit(nn.Linear(4, 10), data_of("data", (inputs, labels)))
