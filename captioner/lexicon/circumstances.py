"""What captions say beside faces and actions: who is there, where, in which light, how things are done and felt.

Brackets are filled in by whoever writes: {them} stands for the person who acts.
"""

from dataclasses import dataclass


def _split(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(text.split(" | ")) for name, text in table.items()}


# How an action is done.
ADVERBS: dict[str, tuple[str, ...]] = _split({
    "slowly": "slowly | unhurriedly | quite slowly",
    "suddenly": "suddenly | quickly | abruptly | all of a sudden",
    "repeatedly": "repeatedly | several times | a few times | again and again",
})  # fmt: skip

FACIAL_VERBS: dict[str, tuple[str, ...]] = _split({
    "smile": "smiles | is smiling | grins",
    "frown": "frowns | is frowning",
})  # fmt: skip

# Where the second person is.
PLACES: dict[str, tuple[str, ...]] = _split({
    "beside": "beside {them} | next to {them} | at {their} side | nearby",
    "behind": "behind {them} | in the background | further back",
    "reverse": "opposite {them}",
})  # fmt: skip
SETTINGS: dict[str, tuple[str, ...]] = _split({
    "dark": "in the dark | in dim light | in a dark place | in poor light | in the half-light",
    "far": "in the distance | far from the camera | far away | some way off",
    "near": "in close-up | close to the camera | very near | filling the picture",
    "zooms in": "the camera moves closer | the camera zooms in | the camera comes nearer | the shot moves in",
    "zooms out": "the camera moves back | the camera zooms out | the camera pulls back | the shot moves out",
})  # fmt: skip
TAILS: tuple[str, ...] = (
    "in front of the camera", "in front of a camera", "in this clip", "in the video", "on the screen", "in this scene",
    "in the picture", "in a short scene",
)  # fmt: skip


@dataclass(frozen=True)
class Feeling:
    """Words for an emotion, all of them in EmVidCap's lexicon: before a noun, after a verb, after "with"."""

    adjectives: tuple[str, ...]
    adverbs: tuple[str, ...]
    nouns: tuple[str, ...] = ()


FEELINGS: dict[str, Feeling] = {
    "anger": Feeling(("angry", "indignant", "annoyed"), ("angrily", "wrathfully", "ragingly"), ("anger", "rage")),
    "disgust": Feeling(("disgusted",), ("disgustedly",), ("disgust",)),
    "fear": Feeling(("scared", "fearful", "afraid"), ("fearfully",), ("fear",)),
    "happiness": Feeling(("happy", "joyful", "glad", "cheerful"),
                         ("happily", "joyfully", "cheerfully", "gladly", "delightfully"), ("joy",)),
    "neutral": Feeling(("calm", "peaceful"), ("calmly", "peacefully")),
    "sadness": Feeling(("sad", "sorrowful", "grieved"), ("sadly", "sorrowfully"), ("sadness", "grief")),
    "surprise": Feeling(("surprised", "astonished", "amazed"), ("surprisedly", "astonishedly", "amazedly"),
                        ("surprise",)),
    "contempt": Feeling(("arrogant", "hateful", "proud"), ("proudly", "hatefully"), ("hate",)),
    "anxiety": Feeling(("worried", "anxious", "concerned", "apprehensive"),
                       ("anxiously", "worriedly", "apprehensively"), ("worry",)),
    "helplessness": Feeling(("depressed", "gloomy", "pessimistic"), ("pessimistically",), ("pessimism",)),
    "disappointment": Feeling(("disappointed",), ("disappointedly", "despairingly")),
}  # fmt: skip
