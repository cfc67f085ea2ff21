"""What a clip is about: its emotions, the phrases that show them, the actions that hide none of these."""

from collections.abc import Iterable
from functools import cache

import numpy as np

from captioner.lexicon.actions import SOCIAL
from captioner.lexicon.emotions import MAFW_LABELS
from captioner.lexicon.phrases import PHRASES, phrases_of
from captioner.synth.identity import DRAWN_AUS

# AUs a photo can be made to show; 43 closes the eyes, as a blink does.
PHOTO_AUS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 27, 43)
SHUT = 43

SUBTLE = 0.2  # faint AUs reach up to here; no caption names them
SALIENT = 0.55  # the smallest peak of an AU that captions name

# Phrases that show an emotion. They do not decide it: `FREE` of the clips choose theirs without looking at the emotion.
PROTOTYPES: dict[str, tuple[str, ...]] = {
    "anger": (
        "frown narrowed_eyes", "frown pressed_lips", "frown wide_eyes", "frown wide_open_mouth", "frown open_mouth",
        "frown", "frown wrinkled_nose", "frown narrowed_eyes open_mouth",
    ),
    "disgust": (
        "wrinkled_nose raised_upper_lip", "frown wrinkled_nose", "wrinkled_nose narrowed_eyes",
        "raised_upper_lip lip_corners_down", "frown raised_upper_lip", "wrinkled_nose",
        "frown wrinkled_nose open_mouth",
    ),
    "fear": (
        "raised_brows wide_eyes stretched_lips", "wide_eyes open_mouth", "raised_inner_brows wide_eyes",
        "wide_eyes stretched_lips", "frown open_mouth", "raised_brows wide_eyes open_mouth",
        "wide_eyes wide_open_mouth",
    ),
    "happiness": (
        "smile raised_cheeks", "smile", "smile open_mouth", "raised_cheeks smile open_mouth",
        "smile raised_cheeks narrowed_eyes", "smile wide_open_mouth", "dimples",
    ),
    "neutral": ("", "", "raised_brows", "open_mouth", ""),
    "sadness": (
        "raised_inner_brows lip_corners_down", "frown lip_corners_down", "lip_corners_down raised_chin",
        "raised_inner_brows frown", "frown open_mouth", "frown closed_eyes", "closed_eyes lip_corners_down", "frown",
    ),
    "surprise": (
        "raised_brows wide_eyes", "raised_brows open_mouth", "raised_brows wide_open_mouth",
        "raised_brows wide_eyes wide_open_mouth", "wide_eyes open_mouth", "raised_brows wide_eyes open_mouth",
    ),
    "contempt": (
        "smile narrowed_eyes", "raised_upper_lip", "raised_brows pressed_lips", "narrowed_eyes raised_chin", "smile",
        "dimples", "dimples narrowed_eyes", "frown dimples",
    ),
    "anxiety": (
        "frown stretched_lips", "raised_inner_brows pressed_lips", "puckered_lips frown",
        "raised_inner_brows open_mouth", "frown open_mouth", "frown", "frown pressed_lips", "frown wide_eyes",
    ),
    "helplessness": (
        "raised_inner_brows raised_chin", "frown raised_chin", "raised_brows lip_corners_down", "frown open_mouth",
        "frown", "raised_inner_brows closed_eyes", "frown pressed_lips",
    ),
    "disappointment": (
        "lip_corners_down", "frown puckered_lips", "lip_corners_down pressed_lips", "puckered_lips", "frown",
        "frown lip_corners_down", "frown pressed_lips", "closed_eyes",
    ),
}  # fmt: skip

# Phrases that would hide each other: never together, so that a perfect observer can name everything.
_HIDES: dict[str, str] = {
    "raised_brows": "raised_inner_brows frown",
    "wide_eyes": "narrowed_eyes raised_cheeks closed_eyes",
    "narrowed_eyes": "raised_cheeks closed_eyes",
    "raised_cheeks": "closed_eyes",
    "raised_upper_lip": "smile stretched_lips puckered_lips pressed_lips open_mouth wide_open_mouth",
    "smile": "lip_corners_down raised_chin stretched_lips puckered_lips",
    "dimples": "smile lip_corners_down puckered_lips stretched_lips open_mouth wide_open_mouth raised_chin",
    "lip_corners_down": "stretched_lips puckered_lips wide_open_mouth",
    "raised_chin": "pressed_lips open_mouth wide_open_mouth puckered_lips stretched_lips",
    "puckered_lips": "stretched_lips pressed_lips open_mouth wide_open_mouth",
    "stretched_lips": "pressed_lips wide_open_mouth",
    "pressed_lips": "open_mouth wide_open_mouth",
    "open_mouth": "wide_open_mouth",
}
CONFLICTS: frozenset[frozenset[str]] = frozenset(
    frozenset((name, other)) for name, others in _HIDES.items() for other in others.split()
)

# How often emotions occur: MAFW's counts, evened out so that rare ones are not too rare, and fewer neutral ones.
_COUNTS = np.array((1390, 639, 625, 1242, 400, 1470, 1072, 236, 916, 262, 182)) ** 0.6
_SHARES = _COUNTS / _COUNTS.sum()
MIXED = 0.2  # of the clips show two emotions
FREE = 0.22  # of the clips choose phrases without looking at the emotion
# What is noted most: added to other phrases wherever both can be seen, for these emotions in so many clips.
_NEGATIVE = "anger disgust fear sadness anxiety helplessness disappointment contempt"
_EXTRA: tuple[tuple[str, str, float], ...] = (
    ("smile", "happiness", 0.6),
    ("frown", _NEGATIVE, 0.42),
    ("open_mouth", f"{_NEGATIVE} happiness surprise", 0.42),
)
# Brows raised within and knitted at once, as crying and pleading faces have them: annotators call it a frown.
_OBLIQUE: tuple[str, float] = ("sadness fear anxiety helplessness", 0.35)

# Actions. Of the first three groups a person does at most one each, and two in all.
HEAD: tuple[str, ...] = (
    "still", "nods", "shakes_head", "turns_left", "turns_right", "tilts_head", "lowers_head", "raises_head",
    "trembles",
)  # fmt: skip
BODY: tuple[str, ...] = ("leans_in", "moves_away", "enters", "leaves")
FACE: tuple[str, ...] = (
    *("talks",) * 6, *("shouts",) * 3, *("laughs",) * 5, "looks_down", "looks_up", "looks_left", "looks_right",
    "looks_around", "closes_eyes", "blinks",
)  # fmt: skip
_OFTEN_SOCIAL: tuple[str, ...] = ("talks_to", "talks_to", "listens", "looks_at", "turns_to")
_SPEECH = frozenset(("talks", "talks_to"))
_GAZES = frozenset(("looks_down", "looks_up", "looks_left", "looks_right", "looks_around", "looks_at", "turns_to"))
_LOWERED = frozenset(("looks_down", "looks_up", "lowers_head", "raises_head"))
_EYES = _GAZES | _LOWERED | {"blinks", "listens", "talks_to"}
# Lips that speech would hide, and eyes whose direction or lids could not be told.
SILENT = frozenset(("wide_open_mouth", "pressed_lips", "puckered_lips", "raised_upper_lip", "raised_chin", "dimples"))
_BLIND = frozenset(("closed_eyes", "narrowed_eyes", "raised_cheeks"))


def together(name: str, others: Iterable[str]) -> bool:
    """Whether a phrase can be seen beside the others."""
    return all(name != other and frozenset((name, other)) not in CONFLICTS for other in others)


def aus_of(name: str) -> tuple[int, ...]:
    """The AUs that show a phrase."""
    return (SHUT,) if name == "closed_eyes" else PHRASES[name].aus


def phrases_shown(aus: Iterable[int]) -> tuple[str, ...]:
    return phrases_of(aus) + (("closed_eyes",) if SHUT in aus else ())


@cache
def ways(name: str, aus: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The sets of AUs with which an actor can show a phrase; a blink closes any eyes."""
    special = {"open_mouth": ((25,), (25, 26), (25, 26)), "wide_open_mouth": ((25, 27),),
               "pressed_lips": ((24,), (23, 24), (23,)), "closed_eyes": ((SHUT,),)}  # fmt: skip
    options = special.get(name, (PHRASES[name].aus,))
    return tuple(option for option in options if set(option) <= {SHUT, *aus})


@cache
def showable(aus: tuple[int, ...]) -> tuple[str, ...]:
    """The phrases that actors with these AUs can show."""
    return tuple(name for name in PHRASES if ways(name, aus))


# what every kind of actor can show a little of
_FAINT: tuple[str, ...] = tuple(name for name in showable(DRAWN_AUS) if name != "closed_eyes")


def subtle_aus(rng: np.random.Generator, names: tuple[str, ...]) -> dict[int, float]:
    """Up to three faint AUs, away from those of the salient phrases `names`."""
    faint: dict[int, float] = {}
    allowed = [name for name in _FAINT if together(name, set(names) - {"dimples"})]  # which leave room for any
    for _ in range(int(rng.integers(0, 4))):
        if allowed:
            options = ways(allowed[int(rng.integers(len(allowed)))], DRAWN_AUS)
            aus = options[int(rng.integers(len(options)))]
            faint.update(dict.fromkeys(aus, float(rng.uniform(0.05, SUBTLE))))
    return faint


def sample_mixture(rng: np.random.Generator) -> tuple[str, ...]:
    """One emotion, or two that go together; neutral is always alone."""
    emotion = MAFW_LABELS[int(rng.choice(len(MAFW_LABELS), p=_SHARES))]
    other = MAFW_LABELS[int(rng.integers(len(MAFW_LABELS)))]
    glad = "happiness" in (emotion, other) and not {"surprise", "contempt"} & {emotion, other}
    if rng.random() < MIXED * 1.6 and other != emotion and "neutral" not in (emotion, other) and not glad:
        return emotion, other
    return (emotion,)


def sample_phrases(
    rng: np.random.Generator, mixture: tuple[str, ...], aus: tuple[int, ...], oblique: bool = False
) -> tuple[str, ...]:
    """Up to four salient phrases: a prototype of each emotion, or any; often a frown or an open mouth besides.

    oblique: sad and frightened faces often have oblique brows.
    """
    able = showable(aus)
    chosen: tuple[str, ...] = ()
    if mixture != ("neutral",) and rng.random() < FREE:
        wanted = [able[index] for index in rng.permutation(len(able))[: int(rng.integers(1, 5))]]
    else:
        wanted = [name for emotion in mixture for name in _prototype(rng, emotion)]
    for name, emotions, share in _EXTRA:
        if rng.random() < share and set(mixture) & set(emotions.split()):
            wanted.append(name)
    if oblique and set(mixture) & set(_OBLIQUE[0].split()) and rng.random() < _OBLIQUE[1]:
        wanted = ["frown", "raised_inner_brows", *wanted]
    for name in wanted:
        if len(chosen) < 4 and name in able and together(name, chosen):
            chosen = (*chosen, name)
    return chosen


def _prototype(rng: np.random.Generator, emotion: str) -> list[str]:
    options = PROTOTYPES[emotion]
    return options[int(rng.integers(len(options)))].split()


def _possible(action: str, names: tuple[str, ...], room: float) -> bool:
    """Whether an action of the face would show beside the phrases, in `room` seconds."""
    shown = set(names)
    if action in _SPEECH and shown & SILENT:
        return False
    if action == "shouts":
        return "wide_open_mouth" in shown
    if action == "laughs":
        return "smile" in shown and bool(shown & {"open_mouth", "wide_open_mouth"})
    if action == "closes_eyes":
        return together("closed_eyes", names)
    if action in ("blinks", "looks_around") and room < 1.8:
        return False
    blind = _BLIND | {"wide_eyes"} if action in _LOWERED or action == "blinks" else _BLIND
    return action not in _EYES or not shown & blind


def sample_actions(
    rng: np.random.Generator, names: tuple[str, ...], room: float, social: bool, body: str = ""
) -> tuple[str, ...]:
    """One to three actions that hide no phrase and not each other; `body` comes first, if anything."""
    actions: tuple[str, ...] = (body,) if body else ()
    kind = rng.random()
    likely = _OFTEN_SOCIAL * 3 if social and rng.random() < 0.7 else FACE
    options = [action for action in likely if _possible(action, names, room)]
    face = options[int(rng.integers(len(options)))] if options and kind < 0.66 else ""
    heads = [action for action in HEAD[1:] if _possible(action, names, room)]
    head = heads[int(rng.integers(len(heads)))] if 0.4 < kind < 0.9 else ""
    if face in _GAZES or (face in SOCIAL and head not in ("nods", "shakes_head")):
        head = ""  # where the head turns, the direction of the eyes is a guess
    if face in ("laughs", "blinks") and head == "trembles":
        head = ""
    actions += tuple(action for action in (head, face) if action)
    return actions or ("still",)


def answer_to(
    rng: np.random.Generator, actions: tuple[str, ...], names: tuple[str, ...], room: float
) -> tuple[str, ...]:
    """What the second person does: talks to whom listens, mostly listens to whom talks."""
    if "listens" in actions:
        return ("talks_to",)
    if "talks_to" in actions and rng.random() < 0.7:
        return (("listens", "nods", "looks_at", "still")[int(rng.integers(4))],)
    return sample_actions(rng, names, room, social=True)
