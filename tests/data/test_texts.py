import pytest
import torch

from onebasin.data import load_dataset
from onebasin.data._texts import tokenizer
from onebasin.errors import OneBasinError
from tests.data.small_datasets import write_split


@pytest.fixture
def load(tmp_path):
    columns = {"sentence": ["ab", "", "née", "a" * 9], "label": [0, 1, 1, 0]}
    for split in ("train", "test"):
        write_split(tmp_path / "words" / f"{split}.parquet", columns)

    def load(**options):
        return load_dataset("words", root=tmp_path, cache=tmp_path / "cache", **options)

    return load


def test_byte_tokens(load):
    data = load(max_length=5)
    assert data.train_inputs.dtype == torch.int64
    assert data.train_inputs.tolist() == [
        [98, 99, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [111, 196, 170, 102, 0],
        [98, 98, 98, 98, 98],
    ]
    assert (data.vocabulary, data.num_classes) == (257, 2)
    assert data.train_labels.tolist() == [0, 1, 1, 0]
    assert data.subset(2).vocabulary == 257


def test_texts_have_128_tokens_by_default(load):
    assert load().input_shape == (128,)


def test_a_tokenizer_of_a_transformers_folder(load, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs onebasin[hub]")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nab\nnee\n")
    saved = transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    saved.save_pretrained(tmp_path / "tokenizer")
    data = load(tokenizer=str(tmp_path / "tokenizer"), max_length=4)
    assert data.train_inputs.tolist() == [[2, 5, 3, 0], [2, 3, 0, 0], [2, 6, 3, 0], [2, 1, 3, 0]]
    assert data.vocabulary == 7


def test_equal_folder_names_with_other_tokenizers_are_decoded_again(load, tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="needs onebasin[hub]")
    tokens = {}
    for first, second in (("ab", "nee"), ("nee", "ab")):
        parent = tmp_path / first
        parent.mkdir()
        (parent / "vocab.txt").write_text(
            f"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{first}\n{second}\n"
        )
        saved = transformers.BertTokenizerFast(vocab=str(parent / "vocab.txt"))
        saved.save_pretrained(parent / "model")
        monkeypatch.chdir(parent)
        tokens[first] = load(tokenizer="model", max_length=4).train_inputs[0].tolist()
    assert tokens == {"ab": [2, 5, 3, 0], "nee": [2, 6, 3, 0]}


def test_an_unknown_tokenizer_raises(load):
    pytest.importorskip("transformers", reason="needs onebasin[hub]")
    text = r"tokenizer '/nowhere/at/all' cannot be loaded \(.*; give 'bytes', or the name or folder"
    with pytest.raises(OneBasinError, match=text):
        load(tokenizer="/nowhere/at/all")


def test_an_invalid_length_raises():
    with pytest.raises(OneBasinError, match=r"^max_length is 0; it must be a whole number of"):
        tokenizer("bytes", 0)


def test_a_missing_text_raises(tmp_path):
    columns = {"text": ["a", None], "label": [0, 1]}
    for split in ("train", "test"):
        write_split(tmp_path / "gap" / f"{split}.parquet", columns)
    with pytest.raises(OneBasinError, match=r"train\.parquet, row 1: the text is missing"):
        load_dataset("gap", root=tmp_path, cache=tmp_path / "cache")


def test_texts_with_the_layout_of_images_raise(load):
    with pytest.raises(OneBasinError, match=r"inputs of words are \(16,\), which are not images"):
        load(max_length=16, layout="images")
