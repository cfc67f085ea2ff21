"""Sound of videos: exact spans, any rate and layout, none at all, broken, longer or shorter than the picture."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from captioner.errors import VideoError
from captioner.sound import Sound, read_sound, read_spans, sound_blocks
from tests.sound.voices import film, tone, wav


def pitch(sound: Sound) -> float:
    power = np.abs(np.fft.rfft(sound.wave * np.hanning(len(sound.wave))))
    return float(power.argmax() * sound.rate / len(sound.wave))


def test_sound_is_where_it_was_written(tmp_path: Path) -> None:
    written = tone(2.0) * (np.arange(32_000) > 16_000)  # silence, then the tone
    for name in ("a.mp4", "a.mkv"):
        sound = read_sound(film(tmp_path / name, written))
        assert sound is not None and sound.rate == 16_000
        lags = [float(np.square(sound.wave[k : k + 30_000] - written[:30_000]).mean()) for k in range(0, 60)]
        assert np.argmin(lags) <= 4  # the encoder's delay is taken away
        assert abs(np.abs(sound.part(0.0, 0.95).wave).max()) < 0.05
        assert pitch(sound.part(1.1, 1.9)) == pytest.approx(440, abs=2)


def test_spans_are_exact_and_equal_the_whole(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", tone(2.0) * np.linspace(0, 1, 32_000, dtype=np.float32))
    whole = read_sound(path)
    spans = read_spans(path, 16_000, [(1.5, 1.9), (0.0, 0.4), (0.4, 1.5), (1.8, 2.6)])
    assert whole is not None and spans is not None
    for span in spans:
        assert np.abs(span.wave - whole.part(span.start, span.start + span.duration).wave).max() < 1e-4
    assert [len(span.wave) for span in spans] == [6400, 6400, 17_600, 12_800]
    assert not spans[-1].wave[-6000:].any()  # silence where the sound is over
    one = read_sound(path, 16_000, 0.4, 1.5)
    assert one is not None and np.array_equal(one.wave, spans[2].wave)


def test_blocks_are_the_whole_in_order(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", tone(2.0))
    whole, blocks = read_sound(path), list(sound_blocks(path, seconds=0.7))
    assert whole is not None and np.array_equal(np.concatenate([block.wave for block in blocks]), whole.wave)
    assert [block.start for block in blocks] == pytest.approx([0, 0.7, 1.4])


def test_no_stream_is_none_and_silence_is_silent(tmp_path: Path) -> None:
    silent = film(tmp_path / "a.mp4", None)
    assert read_sound(silent) is None and read_spans(silent, 8000, [(0, 1)]) is None and not list(sound_blocks(silent))
    quiet = read_sound(film(tmp_path / "b.mp4", np.zeros(16_000, np.float32)))
    assert quiet is not None and quiet.silent
    loud = read_sound(film(tmp_path / "c.mp4", tone(1.0)))
    assert loud is not None and not loud.silent


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (192_000, 2), (48_000, 6)])
def test_any_rate_and_layout_becomes_one_channel(tmp_path: Path, rate: int, channels: int) -> None:
    path = wav(tmp_path / "a.wav", np.stack([tone(0.5, rate)] * channels), rate)
    sound = read_sound(path, 16_000)
    assert sound is not None and sound.duration == pytest.approx(0.5, abs=0.005)
    assert pitch(sound) == pytest.approx(440, abs=4)
    assert float(np.abs(sound.wave[2000:6000]).max()) == pytest.approx(0.4, abs=0.02)  # channels alike: as loud as one


def test_a_stream_may_be_shorter_than_the_pictures_or_a_fraction_of_a_second(tmp_path: Path) -> None:
    short = read_sound(film(tmp_path / "a.mp4", tone(0.2)), 16_000, 0.0, 2.0)
    assert short is not None and len(short.wave) == 32_000
    assert np.abs(short.wave[:3200]).max() > 0.3 and np.abs(short.wave[5000:]).max() < 0.02
    later = read_sound(film(tmp_path / "a.mp4", tone(0.2)), 16_000, 1.0)
    assert later is not None and later.silent
    longer = read_sound(film(tmp_path / "b.mp4", tone(4.0), seconds=1.0))
    assert longer is not None and longer.duration == pytest.approx(4.0, abs=0.1)


def test_broken_sound_is_one_line_or_passed_over(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", tone(1.0)[None], 16_000)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(VideoError, match=r"a\.wav") as fault:
        read_sound(path)
    assert "\n" not in str(fault.value)
    (tmp_path / "b.mp4").write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(100))
    with pytest.raises(VideoError, match="cut off or damaged"):
        read_sound(tmp_path / "b.mp4")
    data = bytearray(film(tmp_path / "c.mkv", tone(2.0)).read_bytes())
    random = np.random.default_rng(0)
    for at in random.integers(len(data) // 3, len(data), 200):
        data[at] = int(random.integers(256))
    (tmp_path / "c.mkv").write_bytes(data)
    sound = read_sound(tmp_path / "c.mkv")
    assert sound is not None and np.isfinite(sound.wave).all()


def test_a_bad_span_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", tone(0.5))
    for start, end in ((-1.0, None), (1.0, 1.0)):
        with pytest.raises(ValueError, match="need"):
            read_sound(path, 16_000, start, end)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", np.tile(tone(1.0, 8000), 60)[None], 8000)
    tracemalloc.start()
    seconds = sum(block.duration for block in sound_blocks(path, 16_000, seconds=2.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds == pytest.approx(60, abs=0.1) and peak < 1.5e6  # the whole would be 3.8 MB
