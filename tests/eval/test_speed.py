"""Benchmarks of the command, of films and of the scan, on things small enough for a test."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench
import numpy as np
import pytest

import captioner
from captioner.video.reading import probe, read_clip, write_video
from eval.speed import command, films, loader, scan
from eval.speed.command import caption_command, command_table, short_clips, watch_command
from tests.helpers import noise_video


def test_a_command_is_watched_while_it_prints() -> None:
    watched = watch_command([sys.executable, "-c", "for n in range(5): print(n, flush=True)"], marks=(2, 5, 9))
    assert watched.lines == 5
    assert set(watched.memory) <= {2, 5} and 2 in watched.memory
    assert watched.spent.clock > 0 and watched.spent.cpu > 0


def test_words_of_the_command() -> None:
    words = caption_command(["a.mp4"], "tiny")
    assert words == [sys.executable, "-m", "captioner", "a.mp4", "-q", "-d", "cpu", "-m", "tiny"]
    assert caption_command(["a.mp4"], None)[-2:] == ["-d", "cpu"]


def test_a_few_files_stand_for_many(tmp_path: Path) -> None:
    folder, scratch = tmp_path / "clips", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    for number in range(2):
        noise_video(folder / f"{number}.mp4", number)
    names = short_clips(folder, 5, scratch)
    assert [name.name for name in names] == [f"0000{number}.mp4" for number in range(5)]
    assert names[0].read_bytes() == names[2].read_bytes() != names[1].read_bytes()
    assert not any(name.is_symlink() for name in names)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command prints a line an input, or ten with --window; scenes are a few small pictures."""

    def words(arguments: list[str], model: str | None) -> list[str]:
        code = "import sys; a = sys.argv[1]; n = 10 if sys.argv[2:] else 1; "
        code += "n = len(open(a[1:]).read().split()) if a[0] == '@' else n; print(*range(n), sep=chr(10))"
        return [sys.executable, "-c", code, *arguments]

    def scenes(videos: Path, seconds: int) -> Iterator[np.ndarray]:
        assert sorted(videos.glob("*.mp4"))
        yield from np.zeros((seconds, 16, 16, 3), np.uint8)

    monkeypatch.setattr(command, "caption_command", words)
    monkeypatch.setattr(command, "wide_scenes", scenes)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("what", "told"),
    [("cold", "cold start, 5 s of 720p"), ("film", "10 minutes of 720p, 10 windows"), ("many", "3 clips, ")],
)
def test_a_row_each(what: str, told: str) -> None:
    row = command_table(what, None, None, 3).rows[0]
    assert row[0].startswith(told) and float(row[1]) > 0
    assert row[3] if what == "cold" else True


@pytest.mark.usefixtures("quick")
def test_warm_is_the_third_call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[Any] = []

    class Loaded:
        def caption(self, clip: Path) -> None:
            assert clip.exists()
            calls.append(clip)

    monkeypatch.setattr(captioner, "load", lambda model, device: Loaded())
    assert bench.main(["command", "warm"]) == 0
    assert len(calls) == 3
    assert "| warm, 5 s of 720p |" in capsys.readouterr().out


def test_films_are_made_once_and_scenes_fill_the_picture(tmp_path: Path) -> None:
    film = films.make_film(tmp_path / "films", 1, 48)
    made = film.stat().st_mtime_ns
    assert (probe(film).width, probe(film).height) == (86, 48) and probe(film).duration == pytest.approx(1, abs=0.05)
    assert films.make_film(tmp_path / "films", 1, 48) == film and film.stat().st_mtime_ns == made
    pictures = read_clip(film, 2).frames.astype(int)
    assert np.abs(pictures[0] - pictures[1]).mean() > 0.5  # it drifts
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "a.mp4", np.full((5, 36, 48, 3), 200, np.uint8), films.WIDE_FPS)
    scene = next(films.wide_scenes(tmp_path / "videos", 1))
    assert scene.shape == (720, 1280, 3)
    assert abs(int(scene[360, 640, 0]) - 200) < 4 and scene[360, 10].tolist() == [90, 80, 70]


def test_memory_of_long_films_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "LENGTHS", {"a": 1, "b": 2})
    monkeypatch.setattr(loader, "in_own_process", lambda work, path: work(path))
    monkeypatch.setattr(loader, "one_thread", lambda: None)
    table = loader.memory_table(tmp_path, noise_video(tmp_path / "film.mp4", 0))
    assert [row[0] for row in table.rows] == ["a", "b"]
    assert all(float(row[1]) > 10 and float(row[2]) >= 0 for row in table.rows)
    longer = tmp_path / "film-times-2.mp4"
    assert probe(longer).duration == pytest.approx(2 * probe(tmp_path / "film.mp4").duration, rel=0.01)


def test_the_scan_in_blocks_is_the_sequential_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scan, "HEADS", 2)
    monkeypatch.setattr(scan, "CHANNELS", 3)
    monkeypatch.setattr(scan, "SECONDS", 0.0)
    assert bench.main(["scan", "--segments", "5", "70"]) == 0
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row[0] for row in lines[-2:]] == ["5", "70"]
    for row in lines[-2:]:
        apart, gradients = float(row[7]), float(row[8])
        assert apart < 1e-4 and gradients < 1e-4
