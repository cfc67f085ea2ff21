"""What happens in a synthetic clip of any length: people, their faces over time, the camera, the light.

Times are in seconds: the same generator gives the same curves at every frame rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from captioner.synth.identity import State
from captioner.synth.story.camera import (
    Box,
    CameraPose,
    Grade,
    Staging,
    Track,
    even_light,
    sample_camera,
    sample_grade,
    sample_portrait,
    sample_staging,
    track,
    window,
)
from captioner.synth.story.motion import Curve, Motion, Window, episode, lopsided, perform, shut
from captioner.synth.story.plot import (
    BODY,
    PHOTO_AUS,
    SALIENT,
    SHUT,
    SILENT,
    answer_to,
    aus_of,
    phrases_shown,
    sample_actions,
    sample_mixture,
    sample_phrases,
    subtle_aus,
    together,
    ways,
)

__all__ = [
    "PHOTO_AUS", "CameraPose", "Grade", "Role", "Story", "StorySettings", "phrases_true", "sample_story", "timeline",
]  # fmt: skip


@dataclass(frozen=True)
class Role:
    """One person of a clip, frame by frame.

    `states` and `places` have one entry a frame; a place is where the face is before the camera moves
    (None: not in the picture), so `x`, `y`, `scale` of the states stay 0, 0, 1.
    `peaks` are the salient AUs, `phrases` what is true of the face, most salient first;
    `manners` says slowly, suddenly or repeatedly of an action.
    """

    states: tuple[State, ...]
    places: tuple[Box | None, ...]
    peaks: Mapping[int, float]
    phrases: tuple[str, ...]
    actions: tuple[str, ...]
    manners: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """A clip before it is filmed; `roles[0]` is whom captions describe, `mixture` one or two emotions.

    `arrangement` of two people: beside, behind (the second behind the first), reverse (filmed in turn), else alone.
    """

    seconds: float
    fps: float
    emotion: str
    mixture: tuple[str, ...]
    roles: tuple[Role, ...]
    camera: tuple[CameraPose, ...]
    grade: Grade
    arrangement: str = "alone"


@dataclass(frozen=True)
class StorySettings:
    """What stories may hold: ranges of seconds and fps, the most people, AUs the actors can show.

    `pictures`: a folder of background pictures is there; `one_sided`: actors can show an AU on one side;
    `oblique`: sad and frightened faces often raise and knit their brows at once;
    `aspect`: width / height of the picture; `framing` is film (any) or portrait: one person fills the picture, in even
    light, before a camera that stays where it is.
    """

    seconds: tuple[float, float] = (3.0, 3.0)
    fps: tuple[float, float] = (12.0, 12.0)
    people: int = 2
    pictures: bool = False
    aus: tuple[int, ...] = PHOTO_AUS
    one_sided: bool = True
    oblique: bool = False
    aspect: float = 1.0
    framing: str = "film"


def timeline(scene: Story | Role, au: int) -> Curve:
    """Intensity (frames,) of an AU; of a story, that of its main person."""
    role = scene.roles[0] if isinstance(scene, Story) else scene
    return np.array([state.aus.get(au, 0.0) for state in role.states])


def phrases_true(role: Role) -> tuple[str, ...]:
    """The phrases true of a role, most salient first: an AU peaks at SALIENT or more while the face is in the
    picture, and no more salient phrase hides it. Salience is the peak, halved for what shows only for a moment.
    """
    shown = [state.aus for state, place in zip(role.states, role.places, strict=True) if place is not None]
    salience: dict[int, float] = {}
    for au in {au for aus in shown for au in aus}:
        values = [aus.get(au, 0.0) for aus in shown]
        if max(values) >= SALIENT:
            long = sum(value > SALIENT / 2 for value in values) / len(values)
            salience[au] = max(values) * (0.5 + 0.5 * long)
    weights = {name: max(salience.get(au, 0.0) for au in aus_of(name)) for name in phrases_shown(salience)}
    chosen: tuple[str, ...] = ()
    for name in sorted(weights, key=weights.__getitem__, reverse=True):
        if together(name, chosen):
            chosen += (name,)
    return chosen


@dataclass(frozen=True)
class _Clock:
    """The frames of a clip: their times (frames,), its length and what its actors can do."""

    t: Curve
    seconds: float
    settings: StorySettings


def _faces(
    rng: np.random.Generator,
    clock: _Clock,
    when: Window,
    names: tuple[str, ...],
    mixture: tuple[str, ...],
    held: bool,
) -> tuple[dict[int, Curve], dict[int, tuple[float, float]]]:
    """The AUs over time, faint ones first, and which of them are uneven; `held` eyes are closed throughout."""
    t, able = clock.t, clock.settings.aus
    curves = {au: peak * episode(rng, t, when) for au, peak in subtle_aus(rng, names).items() if au in able}
    sides: dict[int, tuple[float, float]] = {}
    for name in names:
        options = ways(name, able)
        aus = options[int(rng.integers(len(options)))]
        if name == "closed_eyes":
            curves[SHUT] = shut(rng, t, when, held)
            continue
        shape, peak = episode(rng, t, when), rng.uniform(0.62, 1.0)
        for au in aus:
            curves[au] = float(np.clip(peak * rng.uniform(0.94, 1.06), 0.62, 1.0)) * shape
        sneer = 0.7 if "contempt" in mixture else 0.08
        share = {"smile": sneer, "dimples": sneer, "raised_brows": 0.12}.get(name, 0.0)
        if clock.settings.one_sided:
            sides.update(lopsided(rng, aus, bool(rng.random() < share)))
    return curves, sides


def _states(curves: dict[int, Curve], sides: dict[int, tuple[float, float]], motion: Motion) -> tuple[State, ...]:
    aus = tuple(curves)
    values = np.array([curves[au] for au in aus]).T.tolist() if aus else [[]] * len(motion.yaw)
    rest = zip(*(curve.tolist() for curve in (motion.yaw, motion.pitch, motion.roll, motion.gaze_x, motion.gaze_y,
                                               motion.blink, motion.speech)), strict=True)  # fmt: skip
    return tuple(
        State(dict(zip(aus, row, strict=True)), yaw, pitch, roll, gaze=(right, down), blink=blink, speech=speech,
              sides=sides)
        for row, (yaw, pitch, roll, right, down, blink, speech) in zip(values, rest, strict=True)
    )  # fmt: skip


def _role(
    rng: np.random.Generator, clock: _Clock, staging: Staging, index: int, names: tuple[str, ...],
    actions: tuple[str, ...], mixture: tuple[str, ...],
) -> tuple[Role, Track]:  # fmt: skip
    when = window(staging, index, clock.seconds)
    if "closes_eyes" in actions and "closed_eyes" not in names:
        names = (*names, "closed_eyes")
    curves, sides = _faces(rng, clock, when, names, mixture, held="closes_eyes" not in actions)
    motion = perform(rng, clock.t, clock.seconds, when, actions, -staging.side if index else staging.side)
    if SHUT in curves and SHUT not in clock.settings.aus:
        motion.blink = np.maximum(motion.blink, curves[SHUT])
    way = track(rng, clock.t, staging, index, motion.size, motion.bob, clock.settings.aspect)
    boxes = zip(way.x.tolist(), way.y.tolist(), way.height.tolist(), strict=True)
    places = tuple(box if seen else None for box, seen in zip(boxes, way.seen.tolist(), strict=True))
    role = Role(_states(curves, sides, motion), places, {}, (), actions, motion.manners)
    peaks = {au: float(curve[way.seen].max()) for au, curve in sorted(curves.items())}
    salient = {au: round(peak, 3) for au, peak in peaks.items() if peak >= SALIENT}
    return replace(role, peaks=salient, phrases=phrases_true(role)), way


def _second(rng: np.random.Generator, clock: _Clock, staging: Staging, actions: tuple[str, ...]) -> tuple[Role, Track]:
    """The other person, who has feelings of their own and answers the first one's `actions`."""
    mixture = sample_mixture(rng)[:1]
    # A calmer face than the first one's, which captions describe.
    names = sample_phrases(rng, mixture, clock.settings.aus, clock.settings.oblique)[: int(rng.integers(0, 3))]
    start, end = window(staging, 1, clock.seconds)
    if staging.arrangement == "behind":
        done = sample_actions(rng, names, end - start, social=False)
    else:
        done = answer_to(rng, actions, names, end - start)
    if "talks_to" in done:
        names = tuple(name for name in names if name not in SILENT)
    if staging.passages[1]:
        done = (staging.passages[1], *(action for action in done if action != "still"))
    return _role(rng, clock, staging, 1, names, done, mixture)


def sample_story(rng: np.random.Generator, settings: StorySettings = StorySettings()) -> Story:
    """A random clip; the same generator state gives the same story, at any frame rate."""
    fps, seconds = float(rng.uniform(*settings.fps)), float(rng.uniform(*settings.seconds))
    clock = _Clock(np.arange(max(2, round(seconds * fps))) / fps, seconds, settings)
    portrait = settings.framing == "portrait"
    mixture = sample_mixture(rng)
    grade = even_light(rng) if portrait else sample_grade(rng, settings.pictures)
    names = sample_phrases(rng, mixture, settings.aus, settings.oblique)
    able = BODY if seconds >= 2 and not portrait else BODY[:2]
    body = able[int(rng.integers(len(able)))] if rng.random() < 0.2 else ""
    passage = body if body in ("enters", "leaves") else ""
    leans = bool(body) and not passage
    if portrait:
        staging = sample_portrait(rng, seconds)
    else:
        staging = sample_staging(rng, seconds, settings.aspect, settings.people, grade.letterbox, passage, leans)
    start, end = window(staging, 0, seconds)
    actions = sample_actions(rng, names, end - start, staging.arrangement in ("beside", "reverse"), body)
    cast = [_role(rng, clock, staging, 0, names, actions, mixture)]
    if staging.side:
        cast.append(_second(rng, clock, staging, actions))
    if portrait:
        camera = (CameraPose(),) * len(clock.t)
    else:
        camera = sample_camera(rng, clock.t, staging.starts, [way for _, way in cast], settings.aspect, grade.letterbox)
    roles = tuple(role for role, _ in cast)
    return Story(seconds, fps, mixture[0], mixture, roles, camera, grade, staging.arrangement)
