"""The animated picture of a caption: its phrases light up at their moments, curves grow, all faces are framed."""

from dataclasses import replace
from pathlib import Path

import make_examples
import numpy as np
import pytest
from PIL import Image

from captioner.errors import CaptionerError
from captioner.inference.results import AUCurve, Caption, Evidence, Link, Person
from captioner.output import animation
from captioner.output.animation import draw_moment, write_animation
from captioner.video.reading import write_video
from tests.helpers import noise_video, read_description

TEXT = "A person nods. The raised lip corners."
SECONDS = (0.0, 0.5, 1.0)
CURVE = AUCurve(12, "lip corner puller", "experts", SECONDS, (0.0, 0.2, 0.9))
LINK = Link("smile", "raised lip corners", 19, 37, 12, "lip corner puller", "experts", 0.9, 1.0, True)
BOX = (0.25, 0.25, 0.75, 0.75)
EVIDENCE = Evidence([CURVE], seconds=list(SECONDS), people=[Person(True, [BOX, None, BOX])])
SHOWN = Caption(TEXT, 0.5, [], {"joy": 0.7, "anger": 0.3}, [], 1, 0.0, 1.0, phrases=[LINK], evidence=EVIDENCE)
FRAME = np.full((60, 80, 3), 100, np.uint8)


def pixels(picture: Image.Image, colour: str, box: tuple[int, int, int, int]) -> int:
    """How many pixels of a part of the picture have exactly this colour."""
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    return int((np.asarray(picture.crop(box)) == wanted).all(-1).sum())


PANEL = (animation.FILM + animation.MARGIN, 0, animation.WIDTH, animation.HEIGHT)
FILM = (0, 0, animation.FILM + animation.MARGIN, animation.HEIGHT)


def test_a_phrase_lights_up_at_its_moment_and_its_curve_grows() -> None:
    before, after = (draw_moment(SHOWN, FRAME, second) for second in (0.4, 1.0))
    text = (PANEL[0], 0, PANEL[2], 100)
    assert pixels(before, animation.ACCENT, text) == 0 < pixels(after, animation.ACCENT, text)
    assert pixels(before, animation.SOFT, PANEL) < pixels(after, animation.SOFT, PANEL)
    plain = draw_moment(replace(SHOWN, phrases=[]), FRAME, 1.0)
    assert pixels(plain, animation.ACCENT, PANEL) == 0


def test_a_face_is_framed_where_it_is_and_followed_between_frames_that_were_read() -> None:
    moved = replace(EVIDENCE, people=[Person(True, [BOX, None, (0.5, 0.25, 1.0, 0.75)])])
    still, turned = (draw_moment(replace(SHOWN, evidence=each), FRAME, 0.5) for each in (EVIDENCE, moved))
    left = [int((np.asarray(each) == (255, 179, 92)).all(-1).any(0).argmax()) for each in (still, turned)]
    assert pixels(still, animation.MARK, FILM) > 100  # of the colour that is sought in the line above
    assert left[1] - left[0] == pytest.approx(0.125 * animation.FILM, abs=2)
    absent = replace(EVIDENCE, people=[Person(True, [None] * 3)])
    assert pixels(draw_moment(replace(SHOWN, evidence=absent), FRAME, 0.5), animation.MARK, FILM) == 0


def test_long_captions_wrap_and_emotions_take_the_room_that_is_left() -> None:
    one, many = (draw_moment(replace(SHOWN, text=TEXT * times), FRAME, 0.0) for times in (1, 6))
    edge = (animation.WIDTH - animation.MARGIN + 1, 0, animation.WIDTH, animation.HEIGHT)
    assert pixels(many, animation.PAPER, edge) == edge[3] * (edge[2] - edge[0])
    assert pixels(many, animation.INK, PANEL) > 2 * pixels(one, animation.INK, PANEL)
    assert pixels(draw_moment(replace(SHOWN, text=TEXT * 20), FRAME, 0.0), animation.SOFT, PANEL) == 0


def test_the_file_moves_and_keeps_its_caption(tmp_path: Path) -> None:
    film = noise_video(tmp_path / "film.mp4", 0)
    write_animation(SHOWN, film, tmp_path / "shown.webp")
    with Image.open(tmp_path / "shown.webp") as picture:
        assert picture.size == (animation.WIDTH, animation.HEIGHT)
        assert picture.n_frames > 2 and picture.info["loop"] == 0  # type: ignore[attr-defined]
    assert read_description(tmp_path / "shown.webp") == TEXT
    with pytest.raises(CaptionerError, match="no evidence to draw"):
        write_animation(replace(SHOWN, evidence=None), film, tmp_path / "none.webp")
    assert not (tmp_path / "none.webp").exists()


class Speaks:
    """A captioner that says the same of every video."""

    class config:
        styles = ("faces", "feelings")

    def caption(self, video: Path, style: str = "", evidence: bool = False) -> Caption:
        assert video.exists()
        return replace(SHOWN, text=SHOWN.text if not style else f"{style} of {video.stem}.")


def test_the_pages_are_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, front = tmp_path / "examples", tmp_path / "README.md"
    folder.mkdir()
    for name in make_examples.CLIPS:
        write_video(folder / f"{name}.mp4", np.zeros((10, 32, 32, 3), np.uint8), 10)
    table = "before\n\n| file | faces | feelings |\n|---|---|---|\n| `old.mp4` | old | old |\n\nafter\n"
    (folder / "README.md").write_text(table)
    front.write_text("# title\n\n![old](examples/caption.webp)\n\n$ caption examples/smile.mp4\nOld.\n```\n")
    make_examples.write_pages(Speaks(), folder, front)  # type: ignore[arg-type]
    lines = (folder / "README.md").read_text().splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "after", 6 + len(make_examples.CLIPS))
    assert "| `sad.mp4` | faces of sad. | feelings of sad. |" in lines
    assert f"smile.mp4\n{TEXT}\n```" in front.read_text()
    assert f"“{TEXT}”" in front.read_text()
    assert "lip corner puller at 1.0 s.](examples/caption.webp)" in front.read_text()
    assert read_description(folder / "caption.webp") == TEXT
    assert capsys.readouterr().out.split() == [str(folder / "README.md"), str(folder / "caption.webp"), str(front)]
    (folder / "README.md").write_text("no table")
    with pytest.raises(CaptionerError, match="has no table whose columns are styles"):
        make_examples.write_pages(Speaks(), folder, front)  # type: ignore[arg-type]


def test_something_must_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_examples.main(["--portrait", "face.png"]) == 2
    assert capsys.readouterr().err == (
        "error: give --portrait and --bundle for the videos, or --captions for what is said of them\n"
    )
