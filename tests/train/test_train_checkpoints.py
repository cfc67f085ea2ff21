"""Checkpoints of a run: turned round, checked, fallen back from, kept every n steps, a full disk, SIGTERM."""

import errno
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from captioner.errors import CheckpointError
from captioner.train import checkpoints
from captioner.train.checkpoints import CheckpointStore, changed_settings, shard_name
from captioner.train.processes import Processes


def store(out: Path, keep: int = 2) -> CheckpointStore:
    out.mkdir(exist_ok=True)
    return CheckpointStore(out, Processes(), keep)


def save(kept: CheckpointStore, step: int) -> None:
    """A checkpoint whose weights and states say its step."""

    def write(folder: Path) -> None:
        folder.mkdir()
        save_file({"weight": torch.full((100,), float(step))}, folder / "model.safetensors")

    tensors = {"optimizer.exp_avg.weight": torch.full((100,), float(step)), "random.cpu": torch.tensor([step])}
    kept.save(write, tensors, {"step": step})


def newest(kept: CheckpointStore) -> int:
    found = kept.newest()
    assert found is not None
    assert found.tensors(0)["optimizer.exp_avg.weight"][0] == found.values["step"]
    return int(found.values["step"])


def test_last_and_the_one_before(tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert kept.newest() is None
    for step in (1, 2, 3):
        save(kept, step)
        assert newest(kept) == step
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last", "last-1"]
    assert json.loads((tmp_path / "last-1" / "trainer.json").read_text())["step"] == 2


@pytest.mark.parametrize("file", ["model.safetensors", "trainer.safetensors", "trainer.json"])
@pytest.mark.parametrize("harm", ["cut", "bit", "gone"])
def test_a_damaged_last_is_passed_over(tmp_path: Path, file: str, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    save(kept, 2)
    path = tmp_path / "last" / file
    content = bytearray(path.read_bytes())
    if harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif harm == "bit":
        content[-5 if file != "trainer.json" else 0] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert newest(kept) == 1
    if (file, harm) != ("trainer.json", "gone"):
        assert "passed over for the one before" in caplog.text
        assert file in caplog.text


def test_killed_between_two_renamings(tmp_path: Path) -> None:
    """Whatever a kill leaves, the newest whole folder is found, and the next checkpoint cleans up."""
    kept = store(tmp_path)
    save(kept, 1)
    save(kept, 2)
    (tmp_path / "last-1").rename(tmp_path / ".last-1.old")
    assert newest(kept) == 2
    (tmp_path / "last").rename(tmp_path / "last-1")
    assert newest(kept) == 2
    (tmp_path / "last-1").rename(tmp_path / ".last.writing")  # as if it had been the new one
    assert newest(kept) == 2
    save(kept, 3)
    assert newest(kept) == 3
    assert not list(tmp_path.glob(".*"))


def test_half_written_is_never_chosen(tmp_path: Path) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    (tmp_path / ".last.writing").mkdir()
    (tmp_path / ".last.writing" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "last").rename(tmp_path / "last-1")
    assert newest(kept) == 1


def test_copies_are_pruned_and_can_be_gone_on_from(tmp_path: Path) -> None:
    kept = store(tmp_path, keep=2)
    for step in (10, 20, 30):
        save(kept, step)
        kept.copy(step)
    assert [p.name for p in kept.copies()] == ["step-00000030", "step-00000020"]
    for name in ("last", "last-1", "step-00000030"):
        file = tmp_path / name / "model.safetensors"
        file.unlink()  # copies share their files with `last`
        file.write_bytes(b"damaged")
    assert newest(kept) == 20


def full(*arguments: Any, **options: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save_file", full)
        with pytest.raises(CheckpointError, match=r"the disk is full.*make room"):
            save(kept, 2)
    assert newest(kept) == 1
    assert not list(tmp_path.glob(".*"))
    save(kept, 2)
    assert newest(kept) == 2


def test_a_full_disk_costs_old_copies_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path)
    save(kept, 1)
    kept.copy(1)

    def tight(tensors: dict[str, Tensor], path: Path) -> None:
        if kept.copies():
            full()
        save_file(tensors, path)

    monkeypatch.setattr(checkpoints, "save_file", tight)
    save(kept, 2)
    assert newest(kept) == 2
    assert not kept.copies()


def test_a_model_half_written_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    kept = store(tmp_path)

    def write(folder: Path) -> None:
        half = folder.with_name(f".{folder.name}.writing")
        half.mkdir()
        (half / "model.safetensors").write_bytes(b"half")
        full()

    with pytest.raises(CheckpointError, match="the disk is full"):
        kept.save(write, {}, {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CheckpointError, match="the disk is full"):
        kept.plain("best", lambda folder: full())


def test_shards_of_other_numbers_of_processes_are_merged(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    folder.mkdir()
    for rank in range(3):
        state = {f"optimizer.exp_avg.p{rank}": torch.full((2,), float(rank)), "random.cpu": torch.tensor([rank])}
        save_file(state, folder / shard_name(rank, 3))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    (folder / "trainer.json").write_text(json.dumps({"processes": 3}))
    found = store(tmp_path).newest()
    assert found is not None
    merged = found.tensors(1)
    assert sorted(merged) == ["optimizer.exp_avg.p0", "optimizer.exp_avg.p1", "optimizer.exp_avg.p2", "random.cpu"]
    assert merged["random.cpu"].item() == 1
    assert "random.cpu" not in found.tensors(7)


def test_what_may_change_between_two_starts() -> None:
    old = {"train": {"lr": 1, "deepspeed": "", "compile": False, "batch": 4}}
    new = {"train": {"lr": 1, "deepspeed": "configs/ds_zero2.json", "compile": True, "batch": 8}}
    assert changed_settings(old, new) == ["train.batch"]
