"""Folders: written whole, loaded strictly, refused in one line."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import captioner
from captioner.errors import CheckpointError
from captioner.files import SHIPPED, recover
from captioner.inference.predictor import Captioner
from captioner.model import checkpoint
from captioner.model.captioner import EmotionCaptioner
from captioner.model.tokenizer import Tokenizer
from captioner.video.reading import write_video
from tests.helpers import CAPTIONS, tiny_config, with_vocabulary


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    torch.manual_seed(0)
    model = EmotionCaptioner(with_vocabulary(tiny_config("text.share_words=true"), tokenizer))
    checkpoint.save_checkpoint(tmp_path / "model", model, tokenizer, meta={"licence": "Apache-2.0"}, card="# A card\n")
    return tmp_path / "model"


def refusal(folder: Path | str) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip(folder: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load_checkpoint(folder)
    assert loaded.meta["licence"] == "Apache-2.0"
    assert loaded.tokenizer.encode(CAPTIONS[0], 40)[0] == loaded.tokenizer.cls_id
    assert not loaded.model.training
    assert sorted(p.name for p in folder.iterdir()) == [
        "CARD.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    again = Captioner(loaded)
    again.save_pretrained(tmp_path / "copy")
    ours, theirs = load_file(folder / "model.safetensors"), load_file(tmp_path / "copy" / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    words = [k for k in ours if k.endswith(("words.weight", "word_embeddings.weight", "decoder.weight"))]
    assert len(words) == 1  # one table, stored once
    model = loaded.model
    assert model.fusion.head.decoder.weight is model.fusion.embed.words.weight


def test_saved_and_loaded_says_the_same(folder: Path, tmp_path: Path) -> None:
    frames = (torch.rand(6, 64, 80, 3) * 255).byte().numpy()
    write_video(tmp_path / "v.mp4", frames, 6)
    first = captioner.load(folder, device="cpu").caption(tmp_path / "v.mp4")
    captioner.load(folder, device="cpu").save_pretrained(tmp_path / "again")
    second = captioner.load(tmp_path / "again", device="cpu").caption(tmp_path / "v.mp4")
    assert first.text == second.text
    assert first.emotion == second.emotion
    assert first.action_units == second.action_units


def test_half_precision_storage(folder: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load_checkpoint(folder)
    checkpoint.save_checkpoint(tmp_path / "half", loaded.model, loaded.tokenizer, half=True)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    sizes = {name: value.dtype.itemsize for name, value in stored.items() if value.is_floating_point()}
    assert all((size == 2) == (stored[n].ndim > 1 and not n.startswith("experts.au.")) for n, size in sizes.items())
    back = checkpoint.load_checkpoint(tmp_path / "half").model
    for (name, a), b in zip(loaded.model.state_dict().items(), back.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3, msg=name)


def test_missing_file(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refusal(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "damaged" in refusal(folder)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    torch.save({"a": torch.ones(2)}, folder / "model.safetensors")
    assert "no safetensors file" in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("layers", 3, "missing"), ("layers", 1, "unknown"), ("ffn", 32, "another shape")],
)
def test_another_architecture(folder: Path, key: str, value: int, word: str) -> None:
    meta = json.loads((folder / "config.json").read_text())
    meta["model"]["fusion"][key] = value
    (folder / "config.json").write_text(json.dumps(meta))
    message = refusal(folder)
    assert word in message
    assert "does not fit this architecture" in message


def test_unknown_key_in_config(folder: Path) -> None:
    meta = json.loads((folder / "config.json").read_text())
    meta["model"]["fusion"]["layrs"] = 3
    (folder / "config.json").write_text(json.dumps(meta))
    assert "did you mean 'fusion.layers'" in refusal(folder)


def test_other_formats(folder: Path) -> None:
    for text, word in [
        ("{", "cannot be read"),
        ("[]", "not a mapping"),
        ("{}", "no 'model'"),
        ('{"model": {}, "format": 99}', "format 99"),
    ]:
        (folder / "config.json").write_text(text)
        assert word in refusal(folder)


def test_foreign_tokenizer_file(folder: Path) -> None:
    Tokenizer.build(["other words"]).save(folder / "tokenizer.json")
    assert "different checkpoints" in refusal(folder)


def test_only_captioners_are_listed() -> None:
    assert "default" in captioner.list_models()
    for name in captioner.list_models():  # a CLIP pair has a vocabulary, too
        checkpoint.read_model_config(SHIPPED / name)


def test_unknown_name_lists_what_ships() -> None:
    message = refusal("drwn")
    assert "'drwn'" in message
    for name in captioner.list_models():
        assert name in message


def test_hub_name_offline() -> None:
    with pytest.raises(CheckpointError, match="not in the cache"):
        checkpoint.load_checkpoint("nobody/nothing-here", offline=True)


def test_extra_tensor_is_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "surprise": torch.ones(1)}, folder / "model.safetensors")
    assert "1 unknown (surprise)" in refusal(folder)


def test_a_failed_save_leaves_the_old_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    loaded = checkpoint.load_checkpoint(folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_checkpoint(folder, loaded.model, loaded.tokenizer)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    checkpoint.load_checkpoint(folder)


def test_a_crash_between_the_renames_is_healed(folder: Path) -> None:
    folder.rename(folder.with_name(f".{folder.name}.old"))
    assert recover(folder) == folder
    checkpoint.load_checkpoint(folder)


def test_what_is_no_part_of_a_checkpoint_stays_when_it_is_written_anew(folder: Path) -> None:
    loaded = checkpoint.load_checkpoint(folder)
    (folder / "features").mkdir()
    (folder / "features" / "kept").write_text("mine")
    (folder / "text_tokenizer.json").write_text("{}")  # of a text encoder that the new captioner does not have
    checkpoint.save_checkpoint(folder, loaded.model, loaded.tokenizer)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "features", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert (folder / "features" / "kept").read_text() == "mine"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]


def test_what_stayed_behind_in_a_crash_comes_along(folder: Path) -> None:
    loaded = checkpoint.load_checkpoint(folder)
    old = folder.with_name(f".{folder.name}.old")  # as if the machine had stopped after the second renaming
    old.mkdir()
    (old / "config.json").write_text("{}")
    (old / "notes.txt").write_text("mine")
    checkpoint.save_checkpoint(folder, loaded.model, loaded.tokenizer)
    assert (folder / "notes.txt").read_text() == "mine" and not old.exists()
    checkpoint.load_checkpoint(folder)


def test_other_users_can_read(folder: Path) -> None:
    assert all(os.stat(file).st_mode & 0o044 == 0o044 for file in folder.iterdir())


def test_push_to_hub_uploads_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    sent: dict[str, list[str]] = {}

    class Api:
        def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
            assert exist_ok

        def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> str:
            sent[repo_id] = sorted(p.name for p in folder_path.iterdir())
            return "done"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert captioner.load(folder, device="cpu").push_to_hub("me/model") == "done"
    assert sent == {
        "me/model": ["CARD.md", "README.md", "config.json", "model.safetensors", "tokenizer.json"]
    }


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    state["video_in.bias"][0] = float("nan")
    save_file(state, folder / "model.safetensors")
    message = refusal(folder)
    assert "1 tensors hold numbers that are not finite (video_in.bias)" in message


def test_sizes_are_compared_before_memory_is_taken(folder: Path) -> None:
    meta = json.loads((folder / "config.json").read_text())
    meta["model"]["fusion"] |= {"layers": 8, "width": 16384, "ffn": 65536, "heads": 256}  # 100 GB
    meta["model"]["text"]["share_words"] = False
    (folder / "config.json").write_text(json.dumps(meta))
    assert "does not fit this architecture" in refusal(folder)


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64])
def test_other_kinds_of_numbers_are_refused(folder: Path, kind: torch.dtype) -> None:
    state = load_file(folder / "model.safetensors")
    save_file({**state, "video_in.bias": state["video_in.bias"].to(kind)}, folder / "model.safetensors")
    assert "video_in.bias" in refusal(folder)


def test_a_card_of_odd_bytes_is_read_as_far_as_it_goes(folder: Path) -> None:
    (folder / "CARD.md").write_bytes(b"a \xff b")
    assert checkpoint.load_checkpoint(folder).card == "a \ufffd b"


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", f"a/{'b' * 300}"])
def test_names_that_no_folder_can_have(name: str) -> None:
    assert any(words in refusal(name) for words in ("names no model", "is not a folder", "cannot be fetched"))
