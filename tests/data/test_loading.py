"""`load_data`: callables, files and folders of every kind."""

import io
import os
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from onebasin.data._conversion import to_dataset
from onebasin.data._read_options import ReadOptions
from onebasin.data._readers.objects import data_of
from onebasin.data._tokenizers import options_for
from onebasin.data.loading import load_data
from onebasin.errors import OneBasinError
from tests.data.small_datasets import encoded, image_column, images, write_set, write_split
from tests.time_limits import time_limit


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONEBASIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ONEBASIN_DATA", raising=False)


def check_error(text, spec, **options):
    with pytest.raises(OneBasinError, match=text) as caught:
        load_data(str(spec), options=ReadOptions(**options))
    assert "\n" not in str(caught.value)


def batches_of(data, split="train", size=1000):
    return list(data.batches(split, size))


X, Y = torch.arange(24.0).reshape(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
PAIRS = TensorDataset(X, Y)


@pytest.mark.parametrize(
    ("value", "has_labels", "has_test"),
    [
        (DataLoader(PAIRS, batch_size=4), True, False),
        ([(X[:4], Y[:4]), [X[4:], Y[4:]]], True, False),
        ([X[:4], X[4:]], False, False),
        (iter([(X, Y)]), True, False),
        (PAIRS, True, False),
        (TensorDataset(X), False, False),
        ((X.numpy().astype("float64"), Y.numpy()), True, False),
        (X.numpy(), False, False),
        ({"x": X, "y": Y}, True, False),
        (((X, Y), (X[:2], Y[:2])), True, True),
        ({"train": (X, Y), "test": (X[:2], Y[:2])}, True, True),
        ({"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}, True, True),
        ({"x": X, "y": Y, "x_test": X[:2], "y_test": Y[:2]}, True, True),
        ({"train": PAIRS, "valid": PAIRS}, True, True),
        ({"training": (X, Y), "val": (X[:2], Y[:2])}, True, True),
        ((DataLoader(PAIRS), DataLoader(PAIRS)), True, True),
        ((PAIRS, PAIRS), True, True),
    ],
)
def test_python_objects(value, has_labels, has_test):
    data = data_of("mine", value)
    for _ in range(2):  # they can be read again
        read = batches_of(data)
        assert torch.equal(torch.cat([inputs.float() for inputs, _ in read]), X)
        if has_labels:
            assert torch.equal(torch.cat([labels for _, labels in read]), Y)
        else:
            assert all(labels is None for _, labels in read)
    assert data.has_labels("train") is has_labels
    assert (data.test is not None) is has_test
    assert data.input_shape == (4,)
    first = data.take(3)
    assert sum(len(inputs) for inputs, _ in batches_of(first)) == 3


def test_arrays_by_name_are_keyword_arguments():
    ids, mask = torch.ones(6, 3).long(), torch.ones(6, 3).long()
    data = data_of("mine", {"input_ids": ids, "attention_mask": mask, "labels": Y})
    ((inputs, labels),) = batches_of(data)
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert torch.equal(labels, Y)
    assert data.example_inputs(2)["input_ids"].shape == (2, 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "mine is 5; give a DataLoader"),
        ("text", "mine is 'text'"),
        ((X, Y[:3]), "6 inputs but 3 labels"),
        ((X, Y, Y), "tuple of 3 arrays"),
        ((X, X), r"labels of mine are float32 \(6, 4\)"),
        ((X, -Y), "classes begin at 0"),
        ((X, np.array([9e18] * 6)), "a label of mine is 9e[+]18; classes must be below 1000000"),
        ((X, np.array([0.0] * 5 + [np.inf])), r"labels of mine are float64 \(6,\)"),
        ({"train": PAIRS, "dev": PAIRS}, "has the keys 'train', 'dev'; give .* without 'dev'"),
        ({"x_test": X, "y_test": Y}, "no training examples"),
        ((X * float("nan"), Y), "NaN or Inf"),
        (TensorDataset(X[:0]), "no examples"),
        ({"y": Y}, "no inputs"),
    ],
)
def test_other_objects_raise(value, text):
    with pytest.raises(OneBasinError, match=text):
        data_of("mine", value)


def test_an_error_of_a_loader_is_one_line():
    def batches():
        yield X, Y
        raise RuntimeError("first\nsecond")

    class Loader:
        def __iter__(self):
            return batches()

    data = data_of("mine", Loader())
    with pytest.raises(OneBasinError, match=r"reading a batch of mine failed .*first second"):
        batches_of(data)


def test_callables_in_the_working_folder(tmp_path):
    (tmp_path / "source_of_data.py").write_text(
        "import torch\n"
        "def pair(): return torch.ones(4, 2), torch.tensor([0, 1, 0, 1])\n"
        "def broken(): raise RuntimeError('a\\nb')\n"
        "table = {'x': torch.ones(3, 2)}\n"
    )
    assert load_data("source_of_data:pair").num_classes == 2
    assert load_data("source_of_data:table").num_examples() == 3
    check_error("calling source_of_data:broken failed", "source_of_data:broken")
    check_error("has no 'nothing'", "source_of_data:nothing")
    check_error("context= has no effect", "source_of_data:pair", context=5)


def test_npz_files(tmp_path):
    pixels = images(6, channels=3)
    np.savez("a.npz", x_train=pixels, y_train=Y.numpy(), x_test=pixels[:2], y_test=Y.numpy()[:2])
    data = load_data("a.npz")
    assert data.input_shape == (3, 5, 5)
    assert data.normalization == "none (pixels are 0 to 1)"
    inputs, labels = batches_of(data, "test")[0]
    assert torch.allclose(inputs, torch.tensor(pixels[:2]).permute(0, 3, 1, 2) / 255)
    assert labels.tolist() == [0, 1]
    shifted = load_data("a.npz", options=ReadOptions(normalize="0.5,0.25"))
    assert torch.allclose(shifted.example_inputs(), (inputs - 0.5) / 0.25, atol=1e-6)
    np.savez("names.npz", images=pixels, labels=np.array(["b", "a", "b", "c", "a", "a"]))
    assert load_data("names.npz").class_names == ("a", "b", "c")


def test_damaged_npz_files_raise(tmp_path):
    np.savez("objects.npz", x=np.array([{}, []], dtype=object))
    check_error("cannot be read as .npz", "objects.npz")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 no archive")
    check_error("cannot be read as .npz", "cut.npz")
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile("huge.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    check_error("is truncated", "huge.npz")


def test_csv_files_of_numbers(tmp_path):
    (tmp_path / "a.csv").write_text("p,q,kind\n1,2,b\n3,4,a\n5,6,b\n")
    data = load_data("a.csv", options=ReadOptions(label_column="kind"))
    ((inputs, labels),) = batches_of(data)
    assert inputs.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert (labels.tolist(), data.class_names, data.test) == ([1, 0, 1], ("a", "b"), None)
    (tmp_path / "b.csv").write_text("label,p\n1,2.5\n0,4\n")
    assert batches_of(load_data("b.csv"))[0][1].tolist() == [1, 0]
    (tmp_path / "no_header.csv").write_text("7,1,2\n8,3,4\n")
    data = load_data("no_header.csv", options=ReadOptions(label_column="0"))
    assert batches_of(data)[0][1].tolist() == [7, 8]


def test_csv_files_of_texts(tmp_path):
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        (tmp_path / "set" / f"{split}.csv").write_text('text,label\n"a, b",pos\nc,neg\n')
    data = load_data("set", options=ReadOptions(context=3))
    ((inputs, labels),) = batches_of(data, "test")
    assert inputs["input_ids"].tolist() == [[98, 45, 33], [100, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert (labels.tolist(), data.class_names) == ([1, 0], ("neg", "pos"))


def test_integer_labels_of_texts_keep_their_order(tmp_path):
    rows = "".join(f"word,{label}.0\n" for label in range(12))
    (tmp_path / "a.csv").write_text(f"text,label\n{rows}")
    data = load_data("a.csv")
    assert batches_of(data)[0][1].tolist() == list(range(12))
    assert (data.num_classes, data.class_names) == (12, ())


@pytest.mark.parametrize(
    ("content", "text", "options"),
    [
        ("a,b\n1,2\n3\n", "cannot be parsed as CSV", {}),
        ("a,a\n1,2\n", "two columns 'a'", {}),
        ("", "cannot be parsed as CSV", {}),
        ("a,b\n", "has no rows", {}),
        ("a,b\n1,\n2,3\n", "column 'b' of .* has empty fields", {}),
        (
            "a,b\n1,2\n",
            "has no column 'c'; pass one of its columns as label_column=: 'a', 'b'",
            {"label_column": "c"},
        ),
        ("a,b\nx,y\n", "several columns of text", {}),
        ("a,b\n1,2\n", "image_size= has no effect", {"image_size": 3}),
        ("p,q,kind\n1,2,b\n3,4,a\n", "label_column='kind'", {}),
    ],
)
def test_invalid_csv_files_raise(tmp_path, content, text, options):
    (tmp_path / "a.csv").write_text(content)
    check_error(text, "a.csv", **options)


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            subfolder = tmp_path / "pets" / split / name
            subfolder.mkdir(parents=True)
            for row, pixels in enumerate(images(3, channels=3, seed=number)):
                (subfolder / f"{row}.png").write_bytes(encoded(pixels))
    return tmp_path / "pets"


def test_folders_of_images(folder):
    data = load_data("pets")
    assert (data.num_examples(), data.num_examples("test"), data.input_shape) == (6, 6, (3, 5, 5))
    assert data.class_names == ("cat", "dog")
    assert batches_of(data)[0][1].tolist() == [0, 0, 0, 1, 1, 1]
    plain = load_data("pets", options=ReadOptions(normalize="none"))
    cats = torch.tensor(images(3, channels=3, seed=0)).permute(0, 3, 1, 2) / 255
    assert torch.allclose(plain.example_inputs(3), cats)
    assert plain.normalization == "none (pixels are 0 to 1)"
    assert load_data("pets/train").test is None


def test_images_of_several_sizes_need_an_image_size(folder):
    (folder / "train" / "cat" / "9.png").write_bytes(encoded(images(1, size=7, channels=3)[0]))
    check_error("the image is 7x7, but the first one is 5x5; pass image_size=", "pets")
    assert load_data("pets", options=ReadOptions(image_size=4)).input_shape == (3, 4, 4)


def test_damaged_and_missing_images_raise(folder, tmp_path):
    (folder / "val" / "dog" / "1.png").write_bytes(b"no image")
    check_error("the image cannot be decoded", "pets")
    (tmp_path / "empty").mkdir()
    check_error("holds nothing; add train", "empty")


def test_images_of_too_many_pixels_raise(tmp_path):
    from PIL import Image

    stream = io.BytesIO()
    Image.new("1", (7000, 6000)).save(stream, "PNG")
    write_split(
        tmp_path / "bomb" / "train.parquet",
        {"image": [{"bytes": stream.getvalue(), "path": None}] * 4, "label": [0, 1, 0, 1]},
    )
    check_error("the image is 6000x7000, more than 36 million pixels", "bomb")


def test_parquet_folders_need_neither_labels_nor_a_test_split(tmp_path):
    write_split(tmp_path / "plain" / "train.parquet", {"image": image_column(images(3))})
    data = load_data("plain")
    assert (data.has_labels("train"), data.test, data.task) == (False, None, None)
    assert batches_of(data)[0][0].shape == (3, 1, 5, 5)
    single = load_data("plain/train.parquet")
    assert single.num_examples() == 3
    write_set(tmp_path / "root" / "toy")
    named = load_data("toy", root=tmp_path / "root", options=ReadOptions(normalize="0,1"))
    assert (named.num_classes, named.num_examples("test")) == (3, 6)
    assert float(named.example_inputs().min()) >= 0


def test_damaged_parquet_files_raise(tmp_path):
    import pyarrow as pa

    twice = pa.table([[1], [2]], names=["label", "label"])
    (tmp_path / "a").mkdir()
    pq.write_table(twice, tmp_path / "a" / "train.parquet")
    check_error("has two columns 'label'", "a")
    table = pa.table({"image": image_column(images(1)), "label": [0]})
    deep = table.replace_schema_metadata({"huggingface": "[" * 100_000})
    pq.write_table(deep, tmp_path / "a" / "train.parquet")
    assert load_data("a").num_examples() == 1
    (tmp_path / "a" / "train.parquet").write_bytes(b"PAR1 no table")
    check_error("is not a complete parquet file", "a")


def test_text_files_are_cut_into_blocks(tmp_path):
    (tmp_path / "a.txt").write_text("abcdefg")
    data = load_data("a.txt", options=ReadOptions(context=3))
    assert (data.num_examples(), data.has_labels("train")) == (3, False)
    ((inputs, labels),) = batches_of(data.as_next_token())
    assert inputs["input_ids"].tolist() == [[98, 99, 100], [101, 102, 103], [104, 0, 0]]
    assert inputs["attention_mask"][-1].tolist() == [1, 0, 0]
    assert labels.tolist() == [[99, 100, -100], [102, 103, -100], [-100, -100, -100]]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00")
    check_error("is not UTF-8 text", "b.txt")
    (tmp_path / "c.txt").write_text("")
    check_error("is empty", "c.txt")
    check_error("normalize= has no effect", "a.txt", normalize="none")


@pytest.mark.parametrize("text", ["x", "0.5", "1,2,3", "", "0.5,nan", "nan,1", "inf,1"])
def test_invalid_normalizations_raise(text):
    check_error("invalid normalize=", "digits", normalize=text)


def test_a_standard_deviation_of_0_raises():
    check_error("normalize='0.5,0' has the standard deviation 0", "digits", normalize="0.5,0")


def test_unknown_data_raise():
    check_error(
        "'nothing' is not a file, a folder or a known dataset; known are: .*; others are a file",
        "nothing",
    )
    check_error("'./nothing.npz' is not a file, a folder", "./nothing.npz")
    check_error("name of the data is empty", "")


def test_byte_tokens_raise_for_transformers_folders(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_positions": 24}')
    with pytest.raises(OneBasinError, match="tokenizer='bytes' does not suit hf:"):
        options_for(f"hf:{tmp_path}", ReadOptions(tokenizer="bytes"))
    options = options_for(f"hf:{tmp_path}", None)
    assert options.reading["tokenizer"] == str(tmp_path)
    assert options.reading["max_length"] == 24
    assert options_for("mlp", None).reading["tokenizer"] == "bytes"


def test_a_pipe_as_a_configuration_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with time_limit(10), pytest.raises(OneBasinError, match=r"config\.json"):
        options_for(f"hf:{tmp_path}", None)


def test_labeled_data_convert_to_a_dataset():
    data = to_dataset(data_of("mine", DataLoader(PAIRS, batch_size=4)))
    assert torch.equal(data.train_inputs, X)
    assert (len(data.test_labels), data.num_classes) == (0, 3)
    assert to_dataset(data_of("mine", (X.double(), Y))).train_inputs.dtype == torch.float32
    with pytest.raises(OneBasinError, match="mine has no labels"):
        to_dataset(data_of("mine", X))
