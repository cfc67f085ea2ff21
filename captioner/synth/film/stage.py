"""film_story(story, actors, height, width): the frames of a story, people before backdrops, through its camera."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.synth.actor import Actor, FacePlace, Picture
from captioner.synth.film.backdrop import BackdropFolder, backdrop
from captioner.synth.film.grade import Grader, Subject
from captioner.synth.photo.photo_set import PhotoError
from captioner.synth.pixels import LUMA

if TYPE_CHECKING:
    from captioner.synth.story.tale import CameraPose, Grade, Story

Points = NDArray[np.float32]
Bounds = tuple[float, float, float, float]  # left, top, right, bottom

_SPARE = 1.35  # a place is larger than what one take shows of it; the next take shows another part
_FINEST = 2.0  # a backdrop is not drawn finer than this, however far the camera zooms in
_HIDDEN = 0.7  # share of a face that, when another face covers it, makes it unseen


@dataclass(frozen=True)
class Frame:
    """A filmed instant: picture uint8 (H, W, 3); of every role its landmarks (L, 2) and their bounds in pixels.

    Landmarks may lie outside the picture, boxes never do; both are None for who cannot be seen.
    """

    picture: NDArray[np.uint8]
    landmarks: tuple[Points | None, ...]
    boxes: tuple[Bounds | None, ...]


def film_story(
    story: "Story", actors: Sequence[Actor], height: int, width: int, pictures: BackdropFolder | None = None
) -> Iterator[Frame]:
    """The frames of a story, `actors[i]` playing `roles[i]`; the same story and actors give the same frames."""
    if len(actors) != len(story.roles):
        raise PhotoError(f"{len(actors)} actors for {len(story.roles)} roles; give one actor a role")
    take: _Take | None = None
    for frame, pose in enumerate(story.camera):
        if take is None or pose.cut != take.cut:
            take = _Take(story, frame, actors, (height, width), pictures)
        yield take.shoot(frame)


class _View:
    """The camera at one frame: content to picture, and what an upright picture needs beyond the edges to be rolled."""

    def __init__(self, pose: "CameraPose", height: int, width: int) -> None:
        angle = np.radians(pose.roll)
        self.zoom, self.roll = pose.zoom, pose.roll
        self.centre = np.array([width / 2, height / 2])
        self.turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # of row vectors
        # The roll comes last here, so the shift has to be turned back before it.
        self.shift = np.array([pose.dx, pose.dy]) * height @ self.turn.T
        self.margin = int(np.ceil(0.5 * abs(np.sin(angle)) * max(height, width))) + 2 if pose.roll else 0

    def upright(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Content pixels -> pixels of the picture before its roll, whose origin lies `margin` further out."""
        return np.asarray(self.centre + self.zoom * (points - self.centre) + self.shift + self.margin)

    def content(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `upright`."""
        return np.asarray(self.centre + (points - self.margin - self.shift - self.centre) / self.zoom)

    def rolled(self, points: NDArray[np.floating]) -> Points:
        """Pixels of the upright picture -> pixels of the final one."""
        final = self.centre + (points - self.margin - self.centre) @ self.turn
        return np.asarray(final, np.float32)

    def seen(self, height: int, width: int) -> NDArray[np.float64]:
        """Corners (2, 2) of the content that the upright picture shows."""
        return self.content(np.array([[0, 0], [width + 2 * self.margin, height + 2 * self.margin]]))


class _Take:
    """What stays between two cuts: the backdrop and the grading."""

    def __init__(
        self,
        story: "Story",
        start: int,
        actors: Sequence[Actor],
        size: tuple[int, int],
        pictures: BackdropFolder | None,
    ) -> None:
        self.story, self.actors, self.size = story, actors, size
        self.cut = story.camera[start].cut
        height, width = size
        frames = [i for i in range(start, len(story.camera)) if story.camera[i].cut == self.cut]
        views = [_View(story.camera[i], height, width) for i in frames]
        self.views = dict(zip(frames, views, strict=True))
        corners = np.array([view.seen(height, width) for view in views])  # (frames, 2, 2)
        self.origin = np.floor(corners[:, 0].min(0)) - 1
        self.fineness = float(np.clip(max(view.zoom for view in views), 1.0, _FINEST))
        extent = np.ceil((corners[:, 1].max(0) + 1 - self.origin) * self.fineness).astype(int)
        star, place = self._star(frames)
        scene = _scene(
            story.grade, self.cut, int(extent[1]), int(extent[0]), actors[star], self._inside(place), pictures
        )
        self.scene = Image.fromarray(np.clip(scene + 0.5, 0, 255).astype(np.uint8))
        middle = views[0].rolled(views[0].upright(np.array([[place.x, place.y]])))[0, 0] / width
        self.grader = Grader(story.grade, height, width, self._subject(float(np.clip(middle, 0.1, 0.9))))
        self._last: tuple[tuple[float, ...], Picture] | None = None

    def _star(self, frames: Sequence[int]) -> tuple[int, FacePlace]:
        """Whom the take shows first, and where: surroundings fit that person."""
        for index, role in enumerate(self.story.roles):
            for frame in frames:
                if role.places[frame] is not None:
                    return index, self._place(role.places[frame])
        return 0, self._place((0.5, 0.45, 0.5))

    def _subject(self, x: float) -> Subject:
        story = self.story
        sizes = [
            box[2] * pose.zoom
            for role in story.roles
            for box, pose in zip(role.places, story.camera, strict=True)
            if box is not None
        ]
        return Subject(
            x,
            min(actor.level for actor in self.actors),
            min(sizes, default=0.5) * self.size[0],
            any(actor.grey for actor in self.actors),
        )

    def _place(self, box: tuple[float, float, float] | None) -> FacePlace:
        assert box is not None
        height, width = self.size
        return FacePlace(box[0] * width, box[1] * height, box[2] * height)

    def _inside(self, place: FacePlace) -> FacePlace:
        """A place of the content, in pixels of the backdrop."""
        x, y = (np.array([place.x, place.y]) - self.origin) * self.fineness
        return FacePlace(float(x), float(y), place.height * self.fineness)

    def _behind(self, view: _View) -> Picture:
        """The part of the backdrop that the camera sees, as float32 to be painted over."""
        height, width = self.size
        key = (view.zoom, view.roll, *view.shift.tolist())
        if self._last is None or self._last[0] != key:
            left, top = (view.content(np.zeros((1, 2)))[0] - self.origin) * self.fineness
            step = self.fineness / view.zoom
            side = (width + 2 * view.margin, height + 2 * view.margin)
            # PIL samples at pixel centres, as the points do here
            shown = self.scene.transform(
                side, Image.Transform.AFFINE, (step, 0, left, 0, step, top), Image.Resampling.BILINEAR
            )
            self._last = (key, np.asarray(shown, np.float32))
        return self._last[1].copy()

    def shoot(self, frame: int) -> Frame:
        """One frame of the take."""
        view, story = self.views[frame], self.story
        picture = self._behind(view)
        present = [i for i, role in enumerate(story.roles) if role.places[frame] is not None]
        landmarks: dict[int, Points] = {}
        # who is larger is nearer, hence painted later; of two alike the first role is in front
        for index in sorted(present, key=lambda i: (story.roles[i].places[frame][2], -i)):  # type: ignore[index]
            role, place = story.roles[index], self._place(story.roles[index].places[frame])
            x, y = view.upright(np.array([place.x, place.y])).tolist()
            shown = FacePlace(x, y, place.height * view.zoom)
            points = view.rolled(self.actors[index].draw(picture, role.states[frame], shown))
            landmarks = {i: p for i, p in landmarks.items() if _covered(p, points) < _HIDDEN}
            landmarks[index] = points
        graded = self.grader(self._roll(picture, view), frame)
        shown_points = tuple(self._visible(landmarks.get(index)) for index in range(len(story.roles)))
        return Frame(graded, shown_points, tuple(None if p is None else _bounds(p, *self.size) for p in shown_points))

    def _roll(self, picture: Picture, view: _View) -> Picture:
        height, width = self.size
        if not view.margin:
            return picture
        upright = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
        # PIL wants the way back, from a final pixel to the upright one
        (a, b), (c, d) = view.turn
        origin = view.centre + view.margin - view.centre @ view.turn.T
        back = (a, b, origin[0], c, d, origin[1])
        rolled = upright.transform((width, height), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
        return np.asarray(rolled, np.float32)

    def _visible(self, points: Points | None) -> Points | None:
        """None for a face of which nothing is inside the picture."""
        if points is None:
            return None
        height, width = self.size
        (left, top), (right, bottom) = points.min(0), points.max(0)
        return points if left < width and top < height and right > 0 and bottom > 0 else None


def _covered(face: Points, nearer: Points) -> float:
    """Share of a face's box that a nearer face's box covers."""
    low, high = face.min(0), face.max(0)
    shared = np.clip(np.minimum(high, nearer.max(0)) - np.maximum(low, nearer.min(0)), 0, None)
    return float(shared.prod() / max(float((high - low).prod()), 1e-6))


def _bounds(points: Points, height: int, width: int) -> Bounds:
    limit = np.array([width, height], np.float32)
    low, high = np.clip(points.min(0), 0, limit), np.clip(points.max(0), 0, limit)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _scene(
    grade: "Grade", cut: int, height: int, width: int, actor: Actor, place: FacePlace, pictures: BackdropFolder | None
) -> Picture:
    """The backdrop of a take: a part of the clip's one place, in a tone that goes with the person."""
    if grade.backdrop == "own":
        return actor.backdrop(height, width, place)
    tall, wide = round(_SPARE * height), round(_SPARE * width)
    # behind somebody far away things are small
    far = float(np.clip(0.35 * height / max(place.height, 1.0), 1.0, 1.8)) if grade.backdrop == "texture" else 1.0
    whole = backdrop(
        grade.backdrop, np.random.default_rng((grade.seed, 1)), round(far * tall), round(far * wide), pictures
    )
    if far > 1:
        drawn = Image.fromarray(np.clip(whole + 0.5, 0, 255).astype(np.uint8))
        whole = np.asarray(drawn.resize((wide, tall), Image.Resampling.BOX), np.float32)
    rng = np.random.default_rng((grade.seed, 2, cut))
    y, x = int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1))
    part = whole[y : y + height, x : x + width]
    if cut and rng.random() < 0.5:
        part = part[:, ::-1]
    return part * _towards(float((part @ LUMA).mean()), actor.level)


def _towards(have: float, want: float) -> float:
    """Half the way, in stops, from one brightness to another."""
    return float(np.clip(np.sqrt(max(want, 1.0) / max(have, 1.0)), 0.5, 1.7))
