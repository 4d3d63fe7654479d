"""Datasets in folders of parquet files: decoded values and errors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from onebasin.data import load_dataset
from onebasin.errors import OneBasinError
from tests.data.small_datasets import encoded, image_column, images, write_set, write_split


@pytest.fixture
def load(tmp_path):
    """Load `<tmp_path>/root/<name>` with a separate cache."""

    def load(name="toy", **options):
        return load_dataset(name, root=tmp_path / "root", cache=tmp_path / "cache", **options)

    (tmp_path / "root").mkdir()
    return load


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "root" / "toy"


def check_error(load, text, **options):
    with pytest.raises(OneBasinError, match=text) as caught:
        load(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_decoded_pixels_equal_the_encoded_ones(load, folder, channels):
    write_set(folder, channels=channels)
    data = load()
    for examples, number, seed in ((data.train_examples, 20, 0), (data.test_examples, 6, 1)):
        expected = torch.from_numpy(images(number, channels=channels, seed=seed))
        expected = expected.unsqueeze(1) if channels == 1 else expected.permute(0, 3, 1, 2)
        assert torch.equal(examples.raw, expected)
    assert data.train_labels.tolist() == [row % 3 for row in range(20)]
    assert (data.num_classes, data.class_names) == (3, ("cat", "dog", "eel"))
    assert (data.name, data.input_shape) == ("toy", (channels, 5, 5))


def test_other_datasets_are_normalized_by_their_training_images(load, folder):
    write_set(folder, channels=3)
    inputs = load().train_inputs
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3), correction=0), torch.ones(3))
    given = load(normalization=((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))).train_inputs
    assert 0 <= given.min() and 0.9 < given.max() <= 1


def test_named_datasets_have_fixed_normalizations(load, tmp_path):
    write_set(tmp_path / "root" / "mnist")
    data = load("mnist")
    assert (data.train_examples.mean, data.train_examples.std) == ((0.1307,), (0.3081,))


def test_load_dataset_and_methods_of_dataset_agree(load, folder):
    write_set(folder, num_train=30)
    data = load(
        max_train_examples=12,
        max_test_examples=3,
        balanced=True,
        seed=4,
        label_noise=0.5,
        layout="flat",
    )
    clean = load().subset(12, 3, 4, balanced=True)
    assert torch.equal(data.train_inputs, clean.train_inputs.flatten(1))
    assert torch.equal(data.train_labels, clean.with_label_noise(0.5, seed=4).train_labels)
    assert data.test_labels.tolist() == clean.test_labels.tolist()


def test_files_are_read_in_the_order_of_their_names(load, folder):
    write_set(folder)
    (folder / "train.parquet").unlink()
    pictures = images(9)
    for part in (1, 0, 2):
        rows = range(3 * part, 3 * part + 3)
        columns = {"image": image_column(pictures[list(rows)]), "label": list(rows)}
        write_split(folder / f"train-{part:05d}-of-00003.parquet", columns)
    assert load().train_labels.tolist() == list(range(9))
    assert torch.equal(load().train_examples.raw[:, 0], torch.from_numpy(pictures))


def test_files_in_a_folder_data_are_read(load, folder):
    write_set(folder / "data")
    (folder / "data" / "test.parquet").rename(folder / "data" / "validation-0.parquet")
    assert len(load().test_labels) == 6


def test_columns_are_selected_by_type_or_by_name(load, folder):
    for split in ("train", "test"):
        columns = {
            "img": image_column(images(4)),
            "coarse_label": [1, 0, 1, 0],
            "fine_label": [0, 1, 2, 3],
        }
        write_split(folder / f"{split}.parquet", columns)
    assert load().train_labels.tolist() == [0, 1, 2, 3]
    assert load(label_column="coarse_label").num_classes == 2


def test_image_size_scales_images_of_several_sizes(load, folder):
    for split in ("train", "test"):
        pictures = [images(1, size=size)[0] for size in (8, 12, 16)]
        pictures[1] = pictures[1][:, :9]
        columns = {"image": image_column(pictures), "label": [0, 1, 2]}
        write_split(folder / f"{split}.parquet", columns)
    check_error(load, r"train.parquet, row 1: the image is 12x9, but the first one is 8x8; pass im")
    assert load(image_size=8).input_shape == (1, 8, 8)
    assert torch.equal(load(image_size=8).train_examples.raw[0, 0], torch.from_numpy(pictures[0]))


def test_gray_images_get_three_channels_after_a_color_image(load, folder):
    gray, color = images(1)[0], images(1, channels=3)[0]
    for split in ("train", "test"):
        columns = {"image": image_column([color, gray]), "label": [0, 1]}
        write_split(folder / f"{split}.parquet", columns)
    raw = load().train_examples.raw
    assert raw.shape == (2, 3, 5, 5)
    assert torch.equal(raw[1], torch.from_numpy(gray).expand(3, 5, 5))


def test_color_images_after_a_gray_image_raise(load, folder):
    gray, color = images(1)[0], images(1, channels=3)[0]
    for split in ("train", "test"):
        columns = {"image": image_column([gray, color]), "label": [0, 1]}
        write_split(folder / f"{split}.parquet", columns)
    check_error(load, r"row 1: the image is in color \(RGB\), but the first one of the set is gray")


def test_a_missing_root_or_file_raises(load, folder, tmp_path, monkeypatch):
    with pytest.raises(OneBasinError, match=r"^data: root= is .*/nowhere,"):
        load_dataset("mnist", root=tmp_path / "nowhere", cache=tmp_path)
    monkeypatch.setenv("ONEBASIN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(OneBasinError, match=r"ONEBASIN_DATA is .*/nowhere, which is not a folder"):
        load_dataset("mnist", cache=tmp_path)
    write_set(folder)
    (folder / "test.parquet").unlink()
    check_error(load, r"toy has no test\*\.parquet \(it holds train\.parquet\); add the file")
    (folder / "train.parquet").unlink()
    check_error(load, r"toy has no train\*\.parquet \(it holds nothing\); add the file")


def test_root_and_cache_default_to_environment_variables(folder, tmp_path, monkeypatch):
    write_set(folder)
    monkeypatch.setenv("ONEBASIN_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("ONEBASIN_CACHE", str(tmp_path / "elsewhere"))
    assert len(load_dataset("toy").train_labels) == 20
    assert len(list((tmp_path / "elsewhere" / "datasets" / "toy").rglob("*.arrow"))) == 2


def test_an_unknown_name_lists_the_known_names(load):
    known = "cifar10, cifar100, digits, fashion-mnist, imagenet, mnist, svhn"
    check_error(load, f"^data: unknown dataset 'toy'; known are: {known}; others are OWNER/NAME on")


BROKEN_COLUMNS = {
    "no inputs": ({"label": [0, 1]}, "has no column with encoded images or texts; its columns are"),
    "no labels": (
        {"image": image_column(images(2))},
        "no column with classes .*; write the",
    ),
    "float labels": (
        {"image": image_column(images(2)), "label": [0.5, 1.0]},
        "has no column with classes",
    ),
    "two images": (
        {"a": image_column(images(2)), "b": image_column(images(2)), "label": [0, 1]},
        "has several columns with encoded images or texts; its columns are 'a', 'b', 'label'",
    ),
    "negative label": (
        {"image": image_column(images(2)), "label": [0, -1]},
        r"train.parquet, row 1: invalid label -1 \(expected 0 to 999999\); choose a split that has",
    ),
    "names as labels": (
        {"image": image_column(images(2)), "label": ["cat", "dog"]},
        r"; write the labels as classes \(integers from 0\), or choose another set$",
    ),
    "a number as label": (
        {"image": image_column(images(2)), "label": [0, 10**12]},
        r"row 1: invalid label 1000000000000 \(expected 0 to 999999\); choose a column with",
    ),
    "no rows and no types": (
        {"image": pa.nulls(0), "label": pa.nulls(0)},
        "train.parquet has no rows; fetch it again",
    ),
    "no label": (
        {"image": image_column(images(2)), "label": pa.array([0, None])},
        "row 1: invalid label None",
    ),
    "no bytes": (
        {"image": [{"bytes": None, "path": "a.png"}] * 2, "label": [0, 1]},
        "row 0: the image has no bytes; store the encoded images",
    ),
    "no image": (
        {"image": [encoded(images(1)[0]), b"no image at all"], "label": [0, 1]},
        r"row 1: the image cannot be decoded \(unknown format\)",
    ),
    "half an image": (
        {"image": [encoded(images(1, size=60)[0])[:900]] * 2, "label": [0, 1]},
        "row 0: the image cannot be decoded",
    ),
    "no rows": (
        {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())},
        "train.parquet has no rows",
    ),
}


@pytest.mark.parametrize("what", BROKEN_COLUMNS)
def test_invalid_datasets_raise_and_leave_no_files(load, folder, tmp_path, what):
    columns, text = BROKEN_COLUMNS[what]
    for split in ("train", "test"):
        write_split(folder / f"{split}.parquet", columns)
    check_error(load, text)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".lock"}


def test_errors_give_the_row_within_the_file(load, folder):
    write_set(folder)
    write_split(
        folder / "train2.parquet",
        {"image": image_column(images(9)), "label": [0, 1, 2, 0, 1, 2, 0, 1, -1]},
    )
    (folder / "train2.parquet").rename(folder / "train-b.parquet")
    (folder / "train.parquet").rename(folder / "train-a.parquet")
    check_error(load, r"train-b\.parquet, row 8: invalid label -1")


def test_labels_without_a_class_name_raise(load, folder):
    write_set(folder)
    names = {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    columns = {"image": image_column(images(3)), "label": [0, 1, 2]}
    write_split(folder / "train.parquet", columns, features=names)
    check_error(load, r"row 2: invalid label 2 \(expected 0 to 1\)")


def test_truncated_and_damaged_files_raise(load, folder):
    write_set(folder)
    whole = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(whole[: len(whole) // 2])
    check_error(load, r"train\.parquet is not a complete parquet file \(Arrow.*; fetch it again$")
    (folder / "train.parquet").write_bytes(whole[:200] + b"\xff" * 300 + whole[500:])
    check_error(load, "train.parquet")


def test_files_with_different_columns_raise(load, folder):
    write_set(folder)
    write_split(folder / "train-2.parquet", {"other": [1]})
    check_error(load, "has columns .* but .* put only files of one set into the folder")


def test_unsuitable_columns_raise(load, folder):
    write_set(folder)
    check_error(
        load,
        "has no column 'photo'; name one of its columns: 'image', 'label'",
        input_column="photo",
    )
    check_error(load, "column 'label' of .* neither images nor texts", input_column="label")
    check_error(load, "column 'image' of .* has no classes", label_column="image")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"image_size": 0}, "load_dataset: image_size is 0; it must be a whole number of"),
        (
            {"image_size": 4, "crop": 0.0},
            "data: crop is 0.0; pass a fraction above 0",
        ),
        ({"image_size": 4, "crop": -1.0}, "data: crop is -1.0; pass a fraction"),
        ({"color": True}, "data: unknown options among color; known are: input_column, label_"),
        ({"max_train_examples": 21}, "subset of 21 train examples of toy; it has 20"),
    ],
)
def test_invalid_options_raise(load, folder, options, text):
    write_set(folder)
    check_error(load, text, **options)


def test_progress_counts_the_rows(load, folder):
    write_set(folder)
    calls = []
    load(progress=lambda *call: calls.append(call))
    assert calls[-1] == (26, 26)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_a_file_with_equal_size_but_other_labels_is_decoded_again(load, folder, monkeypatch):
    monkeypatch.setattr("onebasin.data._parquet.TAIL_BYTES", 64)  # as in a large file
    write_set(folder)
    path, before = folder / "train.parquet", load().train_labels.tolist()
    size, end = path.stat().st_size, path.read_bytes()[-64:]
    names = {"_type": "ClassLabel", "names": ["cat", "dog", "eel"]}
    columns = {"image": image_column(images(20)), "label": before[::-1]}
    features = {"image": {"_type": "Image"}, "label": names}
    write_split(path, columns, features=features)
    assert (path.stat().st_size, path.read_bytes()[-64:]) == (size, end)
    assert load().train_labels.tolist() == before[::-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_images_keep_their_upper_8_bits(load, folder, channels):
    deep = np.random.default_rng(0).integers(0, 1 << 16, (6, 5, 5), dtype=np.uint16)
    pictures = image_column(deep)
    if channels == 3:  # a first image in color
        pictures[0] = image_column(images(1, channels=3))[0]
    for split in ("train", "test"):
        columns = {"image": pictures, "label": [row % 3 for row in range(6)]}
        write_split(folder / f"{split}.parquet", columns)
    raw = load().train_examples.raw
    expected = torch.from_numpy((deep >> 8).astype(np.uint8))
    assert torch.equal(raw[1:, -1], expected[1:])


@pytest.mark.parametrize(
    ("pixels", "text"),
    [
        (np.full((5, 5), 0.5, dtype=np.float32), "floating-point images have an unknown range"),
        (np.full((5, 5), 1 << 20, dtype=np.int32), "the image has values from 1048576 to 1048576"),
    ],
)
def test_images_of_unknown_range_raise(load, folder, pixels, text):
    columns = {"image": [{"bytes": encoded(pixels, "TIFF")}] * 3, "label": [0, 1, 2]}
    for split in ("train", "test"):
        write_split(folder / f"{split}.parquet", columns)
    check_error(load, f"train.parquet, row 0: {text}")
