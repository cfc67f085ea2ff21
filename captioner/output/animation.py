"""A captioned clip as one animated picture: the film, beside it the caption and what it rests on, moment by moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from captioner.errors import CaptionerError
from captioner.files import atomic
from captioner.inference.results import AUCurve, Caption, Link, Person
from captioner.video.reading import read_clip

WIDTH, HEIGHT, FILM = 860, 356, 440  # pixels: the whole picture, and the width of the film in it
MARGIN, LINE, CHART = 20, 27, 34
FPS, HOLD = 7.5, 2000  # pictures a second; milliseconds that the last one stays
MOST_CURVES, MOST_EMOTIONS = 3, 3
PAPER, INK, QUIET, FLOOR, ACCENT, SOFT, MARK = (
    "#faf9f6", "#22201c", "#625e56", "#ddd8cd", "#8c3c14", "#e9c9ae", "#ffb35c",
)  # fmt: skip
DESCRIPTION = 0x010E  # EXIF's ImageDescription, which keeps the caption


@dataclass(frozen=True)
class _Course:
    """A facial phrase and the curve of the action unit that it rests on."""

    link: Link
    curve: AUCurve


def write_animation(caption: Caption, video: str | Path, path: Path, quality: int = 60) -> None:
    """Write an animated WebP of a caption with evidence and of the video it is of."""
    if caption.evidence is None:
        raise CaptionerError(f"{video}: the caption has no evidence to draw (evidence=True gathers it)")
    count = max(2, round((caption.end - caption.start) * FPS))
    clip = read_clip(video, count, start=caption.start, end=caption.end or None)
    moments = zip(clip.frames, clip.times, strict=True)
    pictures = [draw_moment(caption, frame, float(second)) for frame, second in moments]
    durations = [round(1000 / FPS)] * (len(pictures) - 1) + [HOLD]
    exif = Image.Exif()
    exif[DESCRIPTION] = caption.text
    with atomic(path) as temporary:
        pictures[0].save(
            temporary, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=quality,
            method=4, exif=exif,
        )  # fmt: skip


def draw_moment(caption: Caption, frame: np.ndarray, second: float) -> Image.Image:
    """One picture: the frame (H, W, 3) with its faces, the caption, curves up to this second, emotions."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(picture)
    _film(picture, draw, caption, frame, second)
    courses = _courses(caption)
    left, top = FILM + 2 * MARGIN, MARGIN - 4
    top = _text(draw, caption, courses, second, (left, top)) + 12
    for course in courses:
        top = _chart(draw, course, caption, second, (left, top)) + 10
    _emotions(draw, caption, (left, top + 4))
    return picture


def _courses(caption: Caption) -> list[_Course]:
    """The phrases that something measures, in their order."""
    curves = {each.au: each for each in caption.evidence.curves} if caption.evidence else {}
    return [_Course(link, curves[link.au]) for link in caption.phrases if link.au in curves][:MOST_CURVES]


def _film(picture: Image.Image, draw: ImageDraw.ImageDraw, caption: Caption, frame: np.ndarray, second: float) -> None:
    image = Image.fromarray(frame)
    scale = min(FILM / image.width, (HEIGHT - MARGIN) / image.height)
    size = round(image.width * scale), round(image.height * scale)
    left, top = MARGIN // 2 + (FILM - size[0]) // 2, (HEIGHT - size[1]) // 2
    picture.paste(image.resize(size, Image.Resampling.LANCZOS), (left, top))
    people: Sequence[Person] = caption.evidence.people if caption.evidence else ()
    for person in people:
        box = _box_at(person, caption.evidence.seconds if caption.evidence else [], second)
        if box:
            corners = [round(left + box[0] * size[0]), round(top + box[1] * size[1]),
                       round(left + box[2] * size[0]), round(top + box[3] * size[1])]  # fmt: skip
            draw.rounded_rectangle(corners, 6, outline=MARK if person.captioned else PAPER, width=2)
    draw.text((left + 8, top + size[1] - 24), f"{second:.1f} s", "white", _font(14), stroke_width=2, stroke_fill=INK)


def _box_at(person: Person, seconds: Sequence[float], second: float) -> list[float] | None:
    """A person's box between the two frames that were read around a second."""
    known = [(at, box) for at, box in zip(seconds, person.boxes, strict=True) if box is not None]
    if not known:
        return None
    times = [at for at, _ in known]
    return [float(np.interp(second, times, [box[side] for _, box in known])) for side in range(4)]


def _text(
    draw: ImageDraw.ImageDraw, caption: Caption, courses: Sequence[_Course], second: float, at: tuple[int, int]
) -> int:
    """The caption; a phrase is marked from the second on at which its unit shows best. Returns the lower edge."""
    font, (left, top) = _font(20), at
    x, y, right = float(left), float(top), WIDTH - MARGIN
    seen = [(course.link.start, course.link.end) for course in courses if course.curve.peak <= second]
    for word, start in _words(caption.text):
        length = draw.textlength(word, font)
        if x + length > right:
            x, y = float(left), y + LINE
        marked = any(begin <= start < end for begin, end in seen)
        draw.text((x, y), word, ACCENT if marked else INK, font)
        if marked:
            draw.line([x, y + LINE - 3, x + draw.textlength(word.rstrip(".,"), font), y + LINE - 3], ACCENT, 2)
        x += length + draw.textlength(" ", font)
    return int(y) + LINE


def _words(text: str) -> Iterator[tuple[str, int]]:
    place = 0
    for word in text.split():
        place = text.index(word, place)
        yield word, place
        place += len(word)


def _chart(
    draw: ImageDraw.ImageDraw, course: _Course, caption: Caption, second: float, at: tuple[int, int]
) -> int:
    """A unit's curve up to this second, its peak marked once it is reached. Returns the lower edge."""
    (left, top), right = at, WIDTH - MARGIN
    curve, link = course.curve, course.link
    reached = curve.peak <= second
    told = f"{curve.values[curve.seconds.index(curve.peak)]:.2f} at {curve.peak:.1f} s" if reached else ""
    draw.text((left, top), f"AU {curve.au}  {link.name}", INK, _font(14))
    draw.text((right, top), told, ACCENT, _font(14), anchor="ra")
    low, high = top + 20 + CHART, top + 20
    draw.line([left, low, right, low], FLOOR, 1)
    length = max(caption.end - caption.start, 1e-6)

    def place(moment: float, value: float) -> tuple[float, float]:
        return left + (right - left) * min(max((moment - caption.start) / length, 0), 1), low - (low - high) * value

    known = [(s, v) for s, v in zip(curve.seconds, curve.values, strict=True) if s < second]
    now = float(np.interp(second, curve.seconds, curve.values))
    points = [place(s, v) for s, v in [(caption.start, curve.values[0]), *known, (second, now)]]
    draw.polygon([(points[0][0], low), *points, (points[-1][0], low)], SOFT)
    draw.line(points, ACCENT, 2, joint="curve")
    if reached:
        x, _ = place(curve.peak, 0)
        draw.line([x, high, x, low], QUIET, 1)
    return low


def _emotions(draw: ImageDraw.ImageDraw, caption: Caption, at: tuple[int, int]) -> None:
    """The likeliest emotions as bars, as many as there is room for."""
    left, top = at
    for label, share in sorted(caption.emotion.items(), key=lambda pair: -pair[1])[:MOST_EMOTIONS]:
        if top + 18 > HEIGHT:
            return
        draw.text((left, top), label, INK, _font(14))
        start, full = left + 110, WIDTH - MARGIN - 50
        draw.rectangle([start, top + 3, start + max(1, (full - start) * share), top + 14], SOFT)
        draw.text((WIDTH - MARGIN, top), f"{share:.2f}", QUIET, _font(14), anchor="ra")
        top += 20


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The face that comes with Pillow, so that the picture is the same everywhere."""
    return ImageFont.load_default(size)
