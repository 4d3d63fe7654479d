"""`write_checkpoint`: every format and order, with equal values."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from onebasin.checkpoints import TensorInfo, open_checkpoint, write_checkpoint
from onebasin.checkpoints._lazy import SAFETENSORS_DTYPES
from onebasin.errors import OneBasinError


def make_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "z.bias": torch.randn(3, generator=generator).half(),
        "a.weight": torch.randn(3, 5, generator=generator),
        "steps": torch.tensor(3),
        "mask": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 2),
        "ünïcode": torch.randn(2, generator=generator, dtype=torch.float64),
    }


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def test_assert_equal_detects_differences() -> None:
    with pytest.raises(AssertionError, match=r"steps"):
        assert_equal(make_tensors(), make_tensors() | {"steps": torch.tensor(4)})


def read_whole(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint with safetensors and torch, not with onebasin."""
    if path.is_dir():
        parts = [load_file(file) for file in sorted(path.glob("*.safetensors"))]
        return {name: tensor for part in parts for name, tensor in part.items()}
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth", "a.bin", "a.th", "folder/"])
def test_other_libraries_read_the_same_tensors(tmp_path: Path, name: str) -> None:
    tensors = make_tensors()
    write_checkpoint(f"{tmp_path}/{name}", tensors)
    assert_equal(read_whole(tmp_path / name), tensors)
    with open_checkpoint(tmp_path / name) as checkpoint:
        assert_equal(dict(checkpoint), tensors)
    assert os.listdir(tmp_path) == [name.rstrip("/")]


@pytest.mark.parametrize("dtype", SAFETENSORS_DTYPES.values(), ids=str)
def test_every_dtype_of_safetensors(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(48, dtype=torch.uint8).view(dtype)
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, {"x": tensor})
    found = load_file(path)["x"]
    assert found.dtype == dtype
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


def test_same_bytes_as_the_official_writer(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.ones(7, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "official.safetensors", {"format": "pt"})
    write_checkpoint(tmp_path / "ours.safetensors", tensors)
    official, ours = (tmp_path / f"{name}.safetensors" for name in ("official", "ours"))
    assert ours.read_bytes() == official.read_bytes()


def test_tensors_are_aligned_in_any_order(tmp_path: Path) -> None:
    tensors = {
        "byte": torch.ones(3, dtype=torch.uint8),
        "half": torch.ones(3).half(),
        "double": torch.ones(3).double(),
        "single": torch.ones(1),
    }
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, tensors)
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    header = json.loads(raw[8 : 8 + length])
    for name, tensor in tensors.items():
        assert header[name]["data_offsets"][0] % tensor.itemsize == 0
    assert_equal(load_file(path), tensors)


def test_views_are_written_with_their_values(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "transposed": base.t(),
        "slice": base[:, 1],
        "expanded": base[0].expand(2, 4),
        "negative": torch.imag(torch.ones(2, dtype=torch.complex64).conj()),
        "conjugate": torch.full((2,), 1 + 2j, dtype=torch.complex64).conj(),
    }
    write_checkpoint(tmp_path / "a.safetensors", tensors)
    write_checkpoint(tmp_path / "a.pt", tensors)
    assert_equal(load_file(tmp_path / "a.safetensors"), tensors)
    assert_equal(read_whole(tmp_path / "a.pt"), tensors)


def test_a_small_view_is_written_without_its_storage(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt", {"x": torch.zeros(1_000_000)[:3]})
    assert (tmp_path / "a.pt").stat().st_size < 10_000


def test_parameters_are_written_without_gradients(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    for name in ("a.safetensors", "a.pt"):
        write_checkpoint(tmp_path / name, dict(module.named_parameters()))
        assert_equal(read_whole(tmp_path / name), module.state_dict())
        assert not any(tensor.requires_grad for tensor in read_whole(tmp_path / name).values())


def test_tied_tensors_are_written_under_every_name(tmp_path: Path) -> None:
    shared = torch.randn(4, 2)
    tensors = {"embed.weight": shared, "head.weight": shared}
    for name in ("a.safetensors", "a.pt"):
        write_checkpoint(tmp_path / name, tensors)
        assert_equal(read_whole(tmp_path / name), tensors)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "folder/"])
def test_same_tensors_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for folder in ("one", "two"):
        write_checkpoint(f"{tmp_path}/{folder}/{name}", make_tensors(), max_shard_size=64)
    one, two = (
        {file.name: file.read_bytes() for file in sorted((tmp_path / folder).rglob("*.*"))}
        for folder in ("one", "two")
    )
    assert one == two != {}


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "folder/"])
@pytest.mark.parametrize("source", ["specs", "like"])
def test_pairs_may_come_in_any_order(tmp_path: Path, name: str, source: str) -> None:
    tensors = make_tensors()
    save_file(tensors, tmp_path / "b.safetensors")
    pairs = reversed(tensors.items())
    (tmp_path / "out").mkdir()
    path = f"{tmp_path}/out/{name}"
    if source == "like":
        with open_checkpoint(tmp_path / "b.safetensors") as checkpoint:
            write_checkpoint(path, pairs, like=checkpoint, max_shard_size=64)
    else:
        specs = {key: TensorInfo.of(tensor) for key, tensor in tensors.items()}
        write_checkpoint(path, pairs, specs=specs, max_shard_size=64)
    assert_equal(read_whole(Path(path)), tensors)


def test_the_header_contains_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, make_tensors(), metadata={"onebasin": "merged"})
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "onebasin": "merged"}


def test_shards_have_at_most_the_given_size(tmp_path: Path) -> None:
    tensors = {f"layer.{i}": torch.full((size,), float(i)) for i, size in enumerate([4, 4, 9, 1])}
    write_checkpoint(tmp_path / "out", tensors, max_shard_size=32)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 72}
    files = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert list(index["weight_map"].values()) == [files[0], files[0], files[1], files[2]]
    assert sorted(os.listdir(tmp_path / "out")) == [*files, "model.safetensors.index.json"]
    assert_equal(read_whole(tmp_path / "out"), tensors)
    for file in files:
        with safe_open(tmp_path / "out" / file, framework="pt") as shard:
            assert shard.metadata() == {"format": "pt"}


def test_a_folder_gets_configuration_and_tokenizer_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    save_file({"x": torch.ones(1)}, source / "model.safetensors")
    kept = ["config.json", "generation_config.json", "tokenizer.json", "merges.txt", "LICENSE"]
    left = ["trainer_state.json", "optimizer.pt", "modeling_custom.py", "pytorch_model.bin"]
    for name in [*kept, *left]:
        (source / name).write_text(name)
    (source / "tokenizer_parts").mkdir()
    with open_checkpoint(source) as checkpoint:
        write_checkpoint(tmp_path / "out", checkpoint, like=checkpoint)
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*kept, "model.safetensors"])
    assert all((tmp_path / "out" / name).read_text() == name for name in kept)


def test_an_existing_output_is_replaced_but_never_an_input(tmp_path: Path) -> None:
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_checkpoint(path, {"x": torch.zeros(1)})
    write_checkpoint(path, {"x": torch.ones(1)})
    assert_equal(load_file(path), {"x": torch.ones(1)})
    write_checkpoint(other, {"x": torch.zeros(1)})
    with open_checkpoint(path) as checkpoint:
        with pytest.raises(OneBasinError, match="never replaced"):
            write_checkpoint(path, {"x": torch.zeros(1)}, like=checkpoint)
        with pytest.raises(OneBasinError, match="never replaced"):
            write_checkpoint(other, checkpoint, inputs=[other])
    assert_equal(load_file(path), {"x": torch.ones(1)})


def test_an_empty_checkpoint_raises(tmp_path: Path) -> None:
    with pytest.raises(
        OneBasinError, match=r"a\.safetensors: the checkpoint has no tensors; pass at least"
    ):
        write_checkpoint(tmp_path / "a.safetensors", {})


def test_a_dtype_unknown_to_safetensors_raises(tmp_path: Path) -> None:
    tensors = {"x": torch.ones(1, dtype=torch.complex128)}
    with pytest.raises(OneBasinError, match="'x' is complex128, which safetensors cannot hold"):
        write_checkpoint(tmp_path / "a.safetensors", tensors)
    assert os.listdir(tmp_path) == []
    write_checkpoint(tmp_path / "a.pt", tensors)
    assert_equal(read_whole(tmp_path / "a.pt"), tensors)


def test_too_little_free_space_raises(tmp_path: Path) -> None:
    specs = {"x": TensorInfo((1 << 60,), torch.float32)}
    with pytest.raises(OneBasinError, match=r"needs [\d,]+ bytes but [\d,]+ are free there"):
        write_checkpoint(tmp_path / "a.safetensors", iter(()), specs=specs)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_becomes_full_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> object:
        return open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr("onebasin.checkpoints.save.open", full, raising=False)
    with pytest.raises(OneBasinError, match=r"a\.safetensors: cannot be written \(No space left"):
        write_checkpoint(tmp_path / "a.safetensors", make_tensors())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "folder/"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interruption_leaves_no_files(
    tmp_path: Path, name: str, error: type[BaseException]
) -> None:
    tensors = make_tensors()

    def pairs() -> Iterator[tuple[str, Tensor]]:
        yield from list(tensors.items())[:3]
        raise error("stop")

    specs = {key: TensorInfo.of(tensor) for key, tensor in tensors.items()}
    with pytest.raises(error, match="stop"):
        write_checkpoint(f"{tmp_path}/{name}", pairs(), specs=specs, max_shard_size=64)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "folder/"])
@pytest.mark.parametrize("fault", ["missing", "twice", "unannounced", "shape", "dtype"])
def test_tensors_that_differ_from_their_specs_fail_an_assertion(
    tmp_path: Path, name: str, fault: str
) -> None:
    if (name, fault) == ("a.pt", "twice"):
        pytest.skip("a dict has each name once")
    tensors = {"x": torch.ones(2), "y": torch.ones(3)}
    specs = {key: TensorInfo.of(tensor) for key, tensor in tensors.items()}
    pairs = {
        "missing": [("x", tensors["x"])],
        "twice": [*tensors.items(), ("x", tensors["x"])],
        "unannounced": [*tensors.items(), ("z", tensors["x"])],
        "shape": [("x", torch.ones(3)), ("y", tensors["y"])],
        "dtype": [("x", torch.ones(2).half()), ("y", tensors["y"])],
    }[fault]
    with pytest.raises(AssertionError, match=r"never written|twice|never announced|announced"):
        write_checkpoint(f"{tmp_path}/{name}", iter(pairs), specs=specs)
    assert os.listdir(tmp_path) == []


def test_inputs_do_not_change(tmp_path: Path) -> None:
    source = tmp_path / "b.safetensors"
    save_file(make_tensors(), source)
    before = source.read_bytes()
    with open_checkpoint(source) as checkpoint:
        write_checkpoint(tmp_path / "a.safetensors", checkpoint)
        write_checkpoint(tmp_path / "a.pt", checkpoint)
    assert source.read_bytes() == before
