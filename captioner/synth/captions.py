"""What people would write about a scene: an event sentence, then the list of facial phrases, as in MAFW.

    caption  = event [" " face]              "A woman with red hair nods. The frown and the wrinkled nose."
    event    = subject " " action [" and " action] "."
    face     = "The " phrase {", " phrase} [" and " phrase] "."

Only what can be seen is said, and words for emotions are never used; `style="feelings"` writes short
sentences in the manner of EmVidCap instead, which do use one: "a sad woman nods her head".
"""

import numpy as np

from captioner.errors import ConfigError, unknown
from captioner.lexicon.phrases import PHRASES
from captioner.synth.identity import Face
from captioner.synth.scenario import Scene

STYLES: tuple[str, ...] = ("mafw", "feelings")
FAVOURITE = 0.7  # probability of the first of several wordings; the others share the rest

# "{their}" becomes his or her; each action as a verb and as a participle.
ACTION_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "still": (("looks straight ahead", ""), ("keeps still", ""), ("faces the camera", "")),
    "nods": (("nods", "nodding"), ("nods {their} head", "nodding {their} head"), ("is nodding", "nodding")),
    "shakes_head": (("shakes {their} head", "shaking {their} head"),
                    ("is shaking {their} head", "shaking {their} head")),
    "turns_left": (("turns {their} head to the left", "turning {their} head to the left"),
                   ("turns to the left", "turning to the left")),
    "turns_right": (("turns {their} head to the right", "turning {their} head to the right"),
                    ("turns to the right", "turning to the right")),
    "tilts_head": (("tilts {their} head", "tilting {their} head"),
                   ("tilts {their} head to one side", "tilting {their} head to one side")),
    "leans_in": (("leans in", "leaning in"), ("moves closer", "moving closer"),
                 ("comes closer", "coming closer")),
    "moves_away": (("moves back", "moving back"), ("leans back", "leaning back"),
                   ("moves away", "moving away")),
    "talks": (("talks", "talking"), ("is talking", "talking"), ("speaks", "speaking")),
    "looks_down": (("looks down", "looking down"), ("is looking down", "looking down")),
    "looks_up": (("looks up", "looking up"), ("is looking up", "looking up")),
    "looks_left": (("looks to the left", "looking to the left"),
                   ("glances to the left", "glancing to the left")),
    "looks_right": (("looks to the right", "looking to the right"),
                    ("glances to the right", "glancing to the right")),
    "closes_eyes": (("closes {their} eyes", "closing {their} eyes"),
                    ("shuts {their} eyes", "shutting {their} eyes")),
}  # fmt: skip

FEELINGS: dict[str, tuple[str, ...]] = {
    "anger": ("angry", "furious"),
    "disgust": ("disgusted",),
    "fear": ("scared", "frightened"),
    "happiness": ("happy", "cheerful"),
    "neutral": ("calm",),
    "sadness": ("sad", "unhappy"),
    "surprise": ("surprised", "astonished"),
    "contempt": ("contemptuous", "scornful"),
    "anxiety": ("anxious", "worried"),
    "helplessness": ("helpless",),
    "disappointment": ("disappointed",),
}

STRONG = 0.85  # the peak from which a frown is deep


def captions(scene: Scene, rng: np.random.Generator, n: int = 3, style: str = "mafw") -> list[str]:
    """`n` paraphrases that are true of the scene; each names every salient phrase (style "mafw")."""
    if style not in STYLES:
        raise ConfigError(unknown("caption style", style, STYLES))
    write = _mafw if style == "mafw" else _feelings
    return [write(scene, rng) for _ in range(n)]


def _prefer(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    if len(options) == 1 or rng.random() < FAVOURITE:
        return options[0]
    return options[int(rng.integers(1, len(options)))]


def _mafw(scene: Scene, rng: np.random.Generator) -> str:
    event = f"{_subject(scene.face, rng)} {_deeds(scene, rng)}."
    listed = [name for name in scene.phrases if name != "closed_eyes" or rng.random() < 0.5]
    if rng.random() >= FAVOURITE:
        listed = [listed[index] for index in rng.permutation(len(listed))]
    return f"{event} {_face_sentence([_wording(scene, name, rng) for name in listed], rng)}".rstrip()


def _feelings(scene: Scene, rng: np.random.Generator) -> str:
    feeling = _prefer(rng, FEELINGS[scene.emotion])
    article = "an" if feeling[0] in "aeiou" else "a"
    return f"{article} {feeling} {scene.face.gender} {_deeds(scene, rng)}"


def _subject(face: Face, rng: np.random.Generator) -> str:
    """The person with at most one attribute that shows: hair, beard, glasses, shirt."""
    traits = [f"{face.gender} in a {face.shirt} shirt"]
    if face.hair == "bald":
        traits = [f"bald {face.gender}", *traits]
    else:
        traits = [f"{face.gender} with {face.hair_name} hair", *traits]
    if face.glasses:
        traits.append(f"{face.gender} with glasses")
    if face.beard != "none":
        traits.append(f"{face.gender} with a {face.beard}")
    if face.earrings:
        traits.append(f"{face.gender} with earrings")
    kind = rng.random()
    if kind < 0.35:
        return f"A {face.gender}"
    return f"A {traits[0] if kind < 0.65 else traits[int(rng.integers(len(traits)))]}"


def _deeds(scene: Scene, rng: np.random.Generator) -> str:
    their = "her" if scene.face.gender == "woman" else "his"
    chosen = [_prefer_pair(rng, ACTION_WORDS[action]) for action in scene.actions]
    words = chosen[0][0]
    if len(chosen) == 2:
        words += f" and {chosen[1][0]}" if rng.random() < FAVOURITE else f" while {chosen[1][1]}"
    return words.format(their=their)


def _prefer_pair(rng: np.random.Generator, options: tuple[tuple[str, str], ...]) -> tuple[str, str]:
    verbs = tuple(verb for verb, _ in options)
    return options[verbs.index(_prefer(rng, verbs))]


def _wording(scene: Scene, name: str, rng: np.random.Generator) -> str:
    words = _prefer(rng, PHRASES[name].wordings)
    if name == "frown" and scene.peaks[4] >= STRONG and words == "frown" and rng.random() < 0.5:
        return "deep frown"
    if name == "open_mouth" and 26 not in scene.peaks and rng.random() < 0.5:
        return f"slightly {words}"
    return words


def _face_sentence(phrases: list[str], rng: np.random.Generator) -> str:
    if not phrases:
        return ""
    article = "the " if rng.random() < FAVOURITE else ""
    rest = [article + phrase for phrase in phrases[1:]]
    parts = [f"The {phrases[0]}", *rest]
    if len(parts) == 1:
        return f"{parts[0]}."
    return f"{', '.join(parts[:-1])} and {parts[-1]}."
