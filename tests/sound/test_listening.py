"""Speech to text by name: models on disk, doubles of faster-whisper, what is kept, what is refused; the command."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch

from captioner import cli
from captioner.emotion.folder import save_recogniser
from captioner.errors import CheckpointError, ConfigError
from captioner.sound import listening
from captioner.sound.listening import Listener
from captioner.sound.subtitles import Cue
from tests.emotion.test_mer_clip import model as mer_clip
from tests.sound import speech_models
from tests.sound.voices import film, spoken


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_models.whisper(tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="module")
def speller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_models.wav2vec2(tmp_path_factory.mktemp("speller"))


@pytest.mark.slow
def test_whisper_of_transformers_writes_in_its_language(writer: Path, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", spoken(1, silence=1.0))
    cues = Listener(tmp_path / "store", str(writer)).load(path)
    assert cues and all(0.5 < cue.start < cue.end < 4 and cue.text for cue in cues)
    german = Listener(tmp_path / "store", str(writer), "de").load(path)
    assert [cue.start for cue in german] == [cue.start for cue in cues]
    assert [cue.text for cue in german] != [cue.text for cue in cues]  # kept apart, and heard apart
    weights = (writer / "model.safetensors").read_bytes()
    for name, data in (("model.safetensors", weights[:300]), ("tokenizer.json", b"{")):
        broken = tmp_path / name.replace(".", "-")
        broken.mkdir()
        for file in writer.iterdir():
            (broken / file.name).write_bytes(data if file.name == name else file.read_bytes())
        with pytest.raises(CheckpointError, match="it cannot be opened") as fault:
            Listener(tmp_path / "store", str(broken)).open()
        assert "\n" not in str(fault.value)


@pytest.mark.slow
def test_listening_hears_only_speech_and_keeps_it(speller: Path, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", spoken(1, silence=1.0))
    listener = Listener(tmp_path / "store", str(speller))
    cues = listener.load(path)
    assert all(isinstance(cue, Cue) and 0.5 < cue.start < cue.end for cue in cues)
    again = Listener(tmp_path / "store", str(speller))
    assert again.load(path) == cues and "transcriber" not in vars(again)  # read, not heard again
    assert Listener(tmp_path / "store", str(speller)).load(film(tmp_path / "b.mp4", None)) == []
    listener.transcriber = lambda wave: f" it lasts\n{len(wave)} "
    assert listener.compute(path)[0].text.startswith("it lasts")


class WhisperDouble:
    """faster_whisper.WhisperModel, as far as it is used."""

    opened: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, name: str, **given: Any) -> None:
        self.opened.append((name, given))
        if name == "gone":
            raise RuntimeError("Unable to open file 'model.bin'\nin model 'gone'")

    def transcribe(self, wave: Any, language: str | None = None, beam_size: int = 5) -> tuple[Iterator[Any], Any]:
        class Segment:
            text = f" {language or 'any'} {len(wave) > 8000}"

        return iter([Segment(), Segment()]), object()


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> type[WhisperDouble]:
    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperDouble  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    find = listening.find_spec
    monkeypatch.setattr(listening, "find_spec", lambda name: object() if name == "faster_whisper" else find(name))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    WhisperDouble.opened = []
    return WhisperDouble


def test_faster_whisper_by_folder_name_and_size(faster: type[WhisperDouble], tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", spoken(1))
    folder = tmp_path / "converted"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"")
    for name in (str(folder), "small", "Systran/faster-whisper-base"):
        listener = Listener(tmp_path / "store", name, "en", offline=name == "small")
        assert listener.load(path)[0].text == "en True en True"
        assert faster.opened[-1] == (name, {"device": "cpu", "local_files_only": name == "small"})
    count = len(faster.opened)
    assert Listener(tmp_path / "store", "small", "en").load(path) and len(faster.opened) == count  # kept


def test_models_that_do_not_open_are_one_line(
    faster: type[WhisperDouble], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Listener(tmp_path, "gone")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "model.bin").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"--listen gone: it cannot be opened \(Unable to open file"):
        gone.open()
    monkeypatch.setattr(listening, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install faster-whisper"):
        gone.open()


@pytest.mark.parametrize("offline", [True, False])
def test_a_size_without_faster_whisper_is_openais(offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bool]] = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(listening, "find_spec", lambda name: None)
    monkeypatch.setattr(listening, "_transformers", lambda *given: asked.append(given))
    Listener("store", "small", "", offline).open()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    Listener("store", "some/model").open()
    assert asked == [("openai/whisper-small", "", offline), ("some/model", "", True)]


@pytest.mark.slow
def test_the_command_listens_once_and_names_what_it_cannot_open(
    writer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.manual_seed(0)
    save_recogniser(tmp_path / "net", mer_clip())
    path = film(tmp_path / "a b.mp4", spoken(1))
    command = ["--emotions", "--with", str(tmp_path / "net"), "--offline", "-q", str(path)]
    assert cli.main([*command, "--listen", str(writer)]) == 0
    assert "(picture, sound, words)" in capsys.readouterr().out
    kept = list((tmp_path / ".cache" / "captioner" / "words").rglob("*.safetensors"))
    assert len(kept) == 1
    assert cli.main([*command, "--listen", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and error.startswith("error: --listen: ") and "no such file" in error
    assert cli.main([*command, "--listen", "no/such-model"]) == 2  # nothing is asked for
    assert "no/such-model" in capsys.readouterr().err
