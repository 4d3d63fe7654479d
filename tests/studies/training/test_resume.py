"""A killed training resumes to the same result."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin_studies.training import train
from onebasin_studies.training.augmentation import augment_name
from onebasin_studies.training.train import epochs_to_save
from tests.studies.training.networks import blobs, mlp, noisy

OPTIONS = {"epochs": 6, "batch_size": 10, "stop_loss": 0.35, "group_size": 2}
SEEDS = [0, 1, 2]
PROGRAM = """
import os, sys, torch
torch.set_num_threads(1)
from onebasin_studies.training import train
from tests.studies.training.networks import blobs, noisy
from tests.studies.training.test_resume import OPTIONS, SEEDS

def on_epoch_end(found):
    print(found.group, found.epoch, flush=True)
    if found.group == 1 and found.epoch == 3:
        sys.stdin.readline()  # wait here to be killed

options = dict(OPTIONS, spawn_epoch=2, on_epoch_end=on_epoch_end)
train(noisy(), blobs(), seeds=SEEDS, checkpoints=sys.argv[1], **options)
"""


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("seed-*.safetensors")}


def run(folder, **changes):
    return train(
        noisy(), blobs(), seeds=SEEDS, checkpoints=folder, spawn_epoch=2, **{**OPTIONS, **changes}
    )


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_resume_after_a_kill_gives_the_same_bytes(tmp_path, repository, one_thread):
    whole = run(tmp_path / "whole")
    expected = files(tmp_path / "whole")
    assert len(expected) == 3

    killed = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, killed],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=repository,
    )
    try:
        for line in process.stdout:
            if line.split() == [b"1", b"3"]:
                break
        for resume in (True, False):
            with pytest.raises(OneBasinError, match="killed: another process trains there; wait"):
                run(killed, resume=resume)
        time.sleep(0.2)  # the workers are somewhere in a later epoch by now
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert (killed / "running").is_dir()
    assert (killed / ".lock").exists()
    assert json.loads((killed / "manifest.json").read_text())["groups"] == [[0, 1], [2]]

    resumed = run(killed)
    assert files(killed) == expected
    assert [network.losses for network in resumed] == [network.losses for network in whole]
    assert not (killed / "running").exists()
    assert not (killed / ".lock").exists()


def test_finished_training_is_read(tmp_path):
    first = run(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed-*")}
    calls = []
    again = run(tmp_path, progress=lambda *call: calls.append(call))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed-*")} == before
    assert [n.history for n in again] == [n.history for n in first]
    assert [n.status for n in again] == [n.status for n in first]
    assert calls[-1] == (18, 18)


def test_resume_after_an_exception(tmp_path, one_thread):
    run(tmp_path / "whole")

    def stop(found):
        if found.group == 0 and found.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", on_epoch_end=stop)
    assert (tmp_path / "stopped" / "running" / "group-0.safetensors").exists()
    run(tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_other_training_is_rejected_or_replaced(tmp_path):
    run(tmp_path)
    with pytest.raises(OneBasinError, match="holds another training, with epochs 6, not 7"):
        run(tmp_path, epochs=7)
    with pytest.raises(OneBasinError, match=r"start again with resume=False .--restart."):
        train(noisy(), blobs(50), seeds=SEEDS, checkpoints=tmp_path, spawn_epoch=2, **OPTIONS)
    found = run(tmp_path, epochs=3, resume=False)
    assert {len(network.losses) for network in found} == {3}


def test_kill_during_a_restart_does_not_mix_trainings(tmp_path, monkeypatch):
    first = run(tmp_path, epochs=3)
    unlink, removed = Path.unlink, []

    def killed(path, *args, **options):
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, epochs=4, resume=False)
    assert len(removed) == 2
    with pytest.raises(OneBasinError, match="holds another training, with epochs 3, not 4"):
        run(tmp_path, epochs=4)
    assert [n.losses for n in run(tmp_path, epochs=3)] == [n.losses for n in first]


def test_networks_without_a_manifest_are_rejected(tmp_path):
    run(tmp_path, epochs=3)
    (tmp_path / "manifest.json").unlink()
    before = files(tmp_path)
    with pytest.raises(OneBasinError, match=r"has history.seed-0.jsonl but no manifest"):
        run(tmp_path, epochs=4)
    assert files(tmp_path) == before
    found = run(tmp_path, epochs=4, resume=False)
    assert {len(network.losses) for network in found} == {4}


@pytest.mark.parametrize(
    "change",
    [
        lambda there: "",
        lambda there: "[]",
        lambda there: "null",
        lambda there: '{"wanted": {}}',
        lambda there: json.dumps({**there, "groups": None}),
        lambda there: json.dumps({**there, "groups": [[0, 1]]}),
        lambda there: json.dumps({**there, "groups": [[0, 1], ["2"]]}),
    ],
)
def test_damaged_manifest_is_rejected(tmp_path, change):
    options = {"seeds": SEEDS, "epochs": 0, "checkpoints": tmp_path}
    train(noisy(), blobs(), **options)
    file = tmp_path / "manifest.json"
    file.write_text(change(json.loads(file.read_text())))
    with pytest.raises(OneBasinError, match=r"manifest.json: not the manifest .* start again with"):
        train(noisy(), blobs(), **options)
    train(noisy(), blobs(), resume=False, **options)


def test_snapshots_are_saved(tmp_path):
    (found,) = train(
        noisy(), blobs(), seeds=[5], epochs=3, checkpoints=tmp_path, save_epochs=[1, 3]
    )
    from safetensors.torch import load_file

    kept = {path.name for path in (tmp_path / "epochs").iterdir()}
    assert kept == {"seed-5-epoch-1.safetensors", "seed-5-epoch-3.safetensors"}
    last = load_file(tmp_path / "epochs" / "seed-5-epoch-3.safetensors")
    first = load_file(tmp_path / "epochs" / "seed-5-epoch-1.safetensors")
    for name, tensor in found.params.items():
        assert torch.equal(last[name], tensor)
    assert not torch.equal(first["0.weight"], last["0.weight"])


def test_past_epochs_cannot_be_saved(tmp_path, one_thread):
    def stop(found):
        if found.epoch == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, save_epochs=[3], on_epoch_end=stop)
    past = r"3 networks passed epochs 4 of save_epochs .*start again with resume=False"
    with pytest.raises(OneBasinError, match=past.replace("3", r"\d")):
        run(tmp_path, save_epochs=[3, 4])
    assert len(run(tmp_path, save_epochs=[3])) == 3
    for _ in range(2):
        with pytest.raises(OneBasinError, match=past):
            run(tmp_path, save_epochs=[3, 4])
    assert len(run(tmp_path, save_epochs=[3])) == 3
    run(tmp_path, save_epochs="all", resume=False)
    assert len(run(tmp_path, save_epochs="all")) == 3
    kept = {path.name for path in (tmp_path / "epochs").iterdir()}
    # Networks stop early, and are one before epoch 2.
    assert {"seed-0-epoch-3.safetensors", "seed-2-epoch-4.safetensors"} <= kept
    assert not any("epoch-2" in name for name in kept)
    # With a network gone its group starts again, and then all of it can be kept.
    for seed in SEEDS:
        (tmp_path / f"seed-{seed}.safetensors").unlink()
    (tmp_path / "epochs" / "seed-0-epoch-3.safetensors").unlink()
    run(tmp_path, save_epochs="all")
    assert {path.name for path in (tmp_path / "epochs").iterdir()} == kept


def plain(inputs, generator):
    return inputs + torch.randn(inputs.shape, generator=generator)


@dataclass(frozen=True)
class Jitter:
    size: float

    def __call__(self, inputs, generator):
        return inputs + self.size * torch.randn(inputs.shape, generator=generator)

    def jitter(self, inputs, generator):
        return self(inputs, generator)


class Nameless:
    def __call__(self, inputs, generator):
        return inputs

    def method(self, inputs, generator):
        return inputs


def test_augmentation_is_identified_by_name(tmp_path):
    options = {"seeds": [0], "epochs": 1, "checkpoints": tmp_path}
    first = train(mlp(), blobs(), augment=Jitter(0.1), **options)
    again = train(mlp(), blobs(), augment=Jitter(0.1), **options)
    assert again[0].losses == first[0].losses
    for other, name in ((Jitter(0.2), r"Jitter\(size=0.2\)"), (plain, "plain"), (None, "null")):
        with pytest.raises(OneBasinError, match=f"holds another training, with augment .*{name}"):
            train(mlp(), blobs(), augment=other, **options)


def test_method_is_identified_by_its_object():
    names = [augment_name(Jitter(size).jitter) for size in (0.1, 0.2)]
    assert [re.findall(r"Jitter\(size=.*?\)", name) for name in names] == [
        ["Jitter(size=0.1)"],
        ["Jitter(size=0.2)"],
    ]


def test_unidentifiable_augmentations_need_no_folder(tmp_path):
    def local(inputs, generator):
        return inputs

    for augment in (lambda inputs, _: inputs, local, Nameless(), Nameless().method, partial(plain)):
        options = {"seeds": [0], "epochs": 1, "augment": augment}
        with pytest.raises(OneBasinError, match=r"train: augment is .*later runs cannot identify"):
            train(mlp(), blobs(), checkpoints=tmp_path / "f", **options)
        assert not (tmp_path / "f").exists()
        train(mlp(), blobs(), **options)


def test_save_epochs_are_checked(tmp_path):
    with pytest.raises(OneBasinError, match=r"save_epochs is 3; it must be 'all' or epochs from 1"):
        epochs_to_save(3, 3)
    with pytest.raises(OneBasinError, match=r"save_epochs is \[4\]; it must be 'all' or epochs"):
        train(noisy(), blobs(), seeds=[5], epochs=3, checkpoints=tmp_path, save_epochs=[4])
    with pytest.raises(OneBasinError, match="save_epochs requires a folder"):
        train(noisy(), blobs(), seeds=[5], epochs=3, save_epochs="all")


def test_damaged_state_is_rejected(tmp_path):
    def stop(found):
        if found.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, on_epoch_end=stop)
    (state, *_) = sorted((tmp_path / "running").iterdir())
    state.write_bytes(b"broken")
    with pytest.raises(OneBasinError, match=r"cannot be read \(.*\); delete it to train"):
        run(tmp_path)
