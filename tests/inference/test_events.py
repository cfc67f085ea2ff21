"""Events by public captioners: tiny random ones in the real layouts are loaded, told apart from others, and marked."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError

from captioner.cli import main
from captioner.errors import CheckpointError
from captioner.inference import events
from captioner.inference.claims import Support
from captioner.inference.decode_options import DecodeOptions
from captioner.inference.events import EventTeller, add_events, find_teller, known_genders, put_event
from captioner.inference.results import Caption, Link, VideoCaptions
from captioner.output.page import page
from tests.helpers import noise_video
from tests.inference.test_predictor import couple, onlooker

__all__ = ["couple", "onlooker"]  # fixtures
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "man", "woman", "is", "talking", "in", "room", "two"]
START, END = 2, 3
SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SEES = SMALL | {"image_size": 32, "patch_size": 16}
FRAMES = np.random.default_rng(0).integers(0, 256, (12, 40, 60, 3), dtype=np.uint8)


def keep(folder: Path, model: Any, *others: Any) -> Path:
    """A folder as the hub has it: the weights, the image processor, a BERT tokenizer."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    for each in (transformers.BertTokenizer(str(folder / "vocab.txt")), model, *others):
        each.save_pretrained(folder)
    return folder


def git(folder: Path, frames: int | None, processor: Any) -> Path:
    config = transformers.GitConfig(
        vision_config=SEES, vocab_size=len(VOCABULARY), max_position_embeddings=64, num_image_with_embedding=frames,
        bos_token_id=START, eos_token_id=END, pad_token_id=0, **SMALL,
    )  # fmt: skip
    return keep(folder, transformers.GitForCausalLM(config), processor)


def blip(folder: Path) -> Path:
    ends = {"bos_token_id": START, "eos_token_id": END, "sep_token_id": END, "pad_token_id": 0}
    text = SMALL | ends | {"vocab_size": len(VOCABULARY), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = transformers.BlipConfig(
        text_config=text | {"projection_dim": 8}, vision_config=SEES | {"projection_dim": 8}, projection_dim=8,
        image_text_hidden_size=8,
    )  # fmt: skip
    processor = transformers.BlipImageProcessor(size={"height": 32, "width": 32})
    return keep(folder, transformers.BlipForConditionalGeneration(config), processor)


@pytest.fixture(scope="module")
def tellers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of random captioners by kind; one that reads words alone."""
    root = tmp_path_factory.mktemp("tellers")
    torch.manual_seed(0)
    square = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    bert = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=len(VOCABULARY), **SMALL))
    return {
        "git-video": git(root / "git-video", 6, transformers.CLIPImageProcessor(**square)),
        "git-vatex": git(root / "git-vatex", 6, transformers.VideoMAEImageProcessor(**square)),
        "git-coco": git(root / "git-coco", None, transformers.CLIPImageProcessor(**square)),
        "blip": blip(root / "blip"),
        "bert": keep(root / "bert", bert),
    }


def test_several_frames_go_to_those_that_take_them_and_the_middle_one_to_others(tellers: dict[str, Path]) -> None:
    other = FRAMES.copy()
    other[[6, 7]] = 255 - other[[6, 7]]  # the middle one of all, and one of six
    rest = np.zeros_like(FRAMES)
    rest[6] = FRAMES[6]
    for kind, taken in (("git-video", 6), ("git-vatex", 6), ("git-coco", 1), ("blip", 1)):
        teller = EventTeller.load(str(tellers[kind]))
        asked: list[torch.Tensor] = []
        own = teller.model.generate

        def watched(pixel_values: torch.Tensor, own: Callable[..., Any] = own, **rest: Any) -> Any:
            asked.append(pixel_values)  # noqa: B023
            return own(pixel_values=pixel_values, **rest)

        teller.model.generate = watched
        told = teller.tell(FRAMES)
        assert told == teller.tell(FRAMES) and set(told.split()) <= set(VOCABULARY[5:])
        assert teller.frames == taken
        assert asked[0].shape == ((1, 6, 3, 32, 32) if taken > 1 else (1, 3, 32, 32))
        assert torch.equal(asked[0], asked[1])
        teller.tell(rest)
        teller.tell(other)
        assert torch.equal(asked[0], asked[2]) == (taken == 1)
        assert not torch.equal(asked[0], asked[3])


def broken(folder: Path, into: Path, spoil: Callable[[Path], Any]) -> str:
    shutil.copytree(folder, into)
    spoil(into)
    return str(into)


def test_what_cannot_be_used_is_one_line(tellers: dict[str, Path], tmp_path: Path) -> None:
    def settings(folder: Path, **changed: Any) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    own, blips = tellers["git-coco"], tellers["blip"]
    (tmp_path / "file").write_text("x")
    cases = {
        "no folder and no hub repository owner/name": "somewhere",
        "is no folder": str(tmp_path / "file"),
        "is a bert model, which captions no pictures": str(tellers["bert"]),
        "has no config.json of transformers": broken(own, tmp_path / "a", lambda at: (at / "config.json").unlink()),
        "no config.json": broken(own, tmp_path / "b", lambda at: (at / "config.json").write_text("[1]")),
        "could run code": broken(own, tmp_path / "c", lambda at: (at / "model.safetensors").rename(at / "model.bin")),
        "cannot be loaded as a git model": broken(
            own, tmp_path / "d", lambda at: (at / "model.safetensors").write_bytes(b"cut")
        ),
        "cannot be loaded as a blip model": broken(
            blips, tmp_path / "e", lambda at: (at / "preprocessor_config.json").unlink()
        ),
        "weights of its blip model, such as": broken(own, tmp_path / "f", lambda at: settings(at, model_type="blip")),
    }
    for told, name in cases.items():
        with pytest.raises(CheckpointError) as error:
            EventTeller.load(name)
        assert told in str(error.value) and "\n" not in str(error.value), name


def test_a_model_that_needs_more_than_a_picture_is_named(tellers: dict[str, Path]) -> None:
    teller = EventTeller.load(str(tellers["blip"]))

    def needs(**_: Any) -> None:
        raise ValueError("give `input_ids`\nor a prompt")

    teller.model.generate = needs
    with pytest.raises(CheckpointError, match="cannot caption a picture by itself: give `input_ids`; give an image-"):
        teller.tell(FRAMES)


def test_transformers_that_is_not_there_is_named(tellers: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match="events need the package transformers: pip install transformers"):
        EventTeller.load(str(tellers["blip"]))


def test_fetching_is_told_once_and_never_done_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[bool] = []

    def hub(name: str, local_files_only: bool = False, allow_patterns: list[str] | None = None) -> str:
        assert name == "someone/captioner" and allow_patterns is not None and "*.bin" not in allow_patterns
        asked.append(local_files_only)
        if local_files_only and not (tmp_path / "model.safetensors").exists():
            raise LocalEntryNotFoundError("not here")
        (tmp_path / "model.safetensors").touch()
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(CheckpointError, match=r"is not in the cache: fetch it once .*`hf download someone/captioner`"):
        find_teller("someone/captioner", offline=True)
    assert asked == [True]
    with caplog.at_level("INFO", logger="captioner"):
        assert find_teller("someone/captioner", offline=False) == tmp_path
        assert asked == [True, True, False]
        assert find_teller("someone/captioner", offline=True) == tmp_path  # from now on it is there
    assert caplog.messages == ["fetching someone/captioner from the hub (public captioner for events)"]

    def down(*_: Any, **__: Any) -> str:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", down)
    with pytest.raises(CheckpointError, match=r"'someone/captioner' cannot be fetched from the hub: no route$"):
        find_teller("someone/captioner", offline=False)


OURS = "A person nods. The frown and the open mouth."


def ours(text: str = OURS) -> Caption:
    phrases = [
        Link(name, name.replace("_", " "), at, at + len(name), au, "", "experts", None, None, True)
        for name, au in (("frown", 4), ("open_mouth", 25))
        if (at := text.find(name.replace("_", " "))) >= 0
    ]
    return Caption(text, 0.5, [], {}, [], 1, 0.0, 1.0, phrases=phrases)


def test_the_face_stays_ours_and_its_phrases_stay_where_they_are_said() -> None:
    caption = ours()
    put_event(caption, "A person cooks.", "by x/y, not measured")
    assert caption.text == "A person cooks. The frown and the open mouth."
    assert [caption.text[each.start : each.end] for each in caption.phrases] == ["frown", "open mouth"]
    assert (caption.event, caption.event_source) == ("A person cooks.", "by x/y, not measured")
    whole = ours("A person frowns with a frown on their face.")
    put_event(whole, "A dog runs.", "x")
    assert whole.text == "A dog runs. A person frowns with a frown on their face."  # one sentence of both: kept
    assert [whole.text[each.start : each.end] for each in whole.phrases] == ["frown"]
    plain = ours("A woman nods. The camera zooms in.")
    put_event(plain, "A dog runs.", "x")
    assert plain.text == "A dog runs. A woman nods. The camera zooms in."  # nothing is said of the face apart
    nobody = ours("No face can be seen.")
    put_event(nobody, "A dog runs.", "x")
    assert nobody.text == "A dog runs. No face can be seen."


def test_only_what_is_nearly_certain_names_a_woman() -> None:
    assert known_genders({"gender": {"woman": Support(0.97), "man": Support(0.03)}}) == ["woman"]
    assert known_genders({"gender": {"woman": Support(0.9)}}) == known_genders({}) == []


class Tells:
    """A teller that says the same of every clip, and counts."""

    name, source = "x/y", "by x/y, not measured"

    def __init__(self, told: str) -> None:
        self.told, self.calls = told, 0

    def tell(self, frames: np.ndarray) -> str:
        self.calls += 1
        assert frames.ndim == 4
        return self.told


def test_a_clip_is_told_once_for_all_its_people(caplog: pytest.LogCaptureFixture) -> None:
    clip: Any = SimpleNamespace(pictures=SimpleNamespace(frames=FRAMES), readings=None, tracks=[1, 2], source="a.mp4")
    other: Any = SimpleNamespace(pictures=None, readings=None, tracks=[1], source="b.mp4")
    teller: Any = Tells("five women dance")
    captions = [ours(), ours(), ours()]
    add_events(teller, [(clip, 0), (clip, 1), (other, 0)], captions, [None, {"gender": {"woman": Support(1.0)}}, None])
    assert teller.calls == 1
    assert [each.event for each in captions] == ["Two people dance.", "Two people dance.", ""]
    again = [ours()]
    woman: Any = {"gender": {"woman": Support(1.0)}}
    alone: Any = SimpleNamespace(pictures=clip.pictures, readings=[1], tracks=[], source="c.mp4")
    for neutral, said in ((False, "A woman dances."), (True, "A person dances.")):
        add_events(Tells("a woman dances"), [(alone, 0)], again, [woman], neutral)  # type: ignore[arg-type]
        assert again[0].event == said
    silent: Any = Tells(" ")
    add_events(silent, [(clip, 0)], captions[2:], [None])
    assert captions[2].text == OURS and "a.mp4: x/y says nothing of it" in caplog.text


def test_captions_ask_for_events_by_python(
    onlooker: Any, couple: Path, tellers: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = onlooker.caption(couple)
    assert (plain.event, plain.event_source) == ("", "")
    monkeypatch.setattr(EventTeller, "tell", lambda self, frames: f"a man shows {len(frames)} frames")
    told = onlooker.caption(couple, events=str(tellers["blip"]))
    assert told.event == "A person shows 4 frames." and told.text.startswith(told.event)
    assert told.event_source == f"by {tellers['blip']}, not measured"
    assert replace(plain, text=told.text, event=told.event, event_source=told.event_source) == told
    assert [each.event for each in onlooker.people(couple, 2, events=tellers["blip"])] == [told.event] * 2
    assert [each.event for each in onlooker.windows(couple, 5, events=tellers["blip"])] == [told.event]
    assert len(onlooker._tellers) == 1  # loaded once
    with pytest.raises(CheckpointError, match="captions no pictures"):
        onlooker.options(events=tellers["bert"])
    assert DecodeOptions(events="x/y").keeps and not DecodeOptions().keeps
    marked = replace(plain, event="A.", event_source="by x/y, not measured")
    assert "first sentence by x/y, not measured" in page(VideoCaptions("a.mp4", [marked]), {})


@pytest.mark.slow
def test_the_command_marks_events_and_refuses_other_models(
    tmp_path: Path, tellers: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import jsonschema

    schema = json.loads((Path(events.__file__).parents[1] / "output" / "schema.json").read_text())
    film, out, name = str(noise_video(tmp_path / "a.mp4", 0)), str(tmp_path / "out"), str(tellers["git-vatex"])
    monkeypatch.setattr(EventTeller, "tell", lambda self, frames: "two men ride horses. they laugh")
    assert main([film, "-d", "cpu", "-q", "-o", out, "-f", "json,csv,html", "--events", name]) == 0
    assert capsys.readouterr().out.startswith("Two people ride horses. ")
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    jsonschema.validate(record, schema)
    assert (record["event"], record["event_source"]) == ("Two people ride horses.", f"by {name}, not measured")
    assert record["settings"]["events"] == name
    assert f"by {name}, not measured" in (tmp_path / "out" / "captions.csv").read_text()
    assert f"first sentence by {name}, not measured" in (tmp_path / "out" / "a.html").read_text()
    for other, told in ((tellers["bert"], "captions no pictures"), ("some/where", "is not in the cache")):
        assert main([film, "-d", "cpu", "--offline", "--events", str(other)]) == 2
        error = capsys.readouterr().err
        assert told in error and error.splitlines()[-1].startswith("error: ")
    with pytest.raises(SystemExit, match="2"):
        main([film, "--events", " "])
