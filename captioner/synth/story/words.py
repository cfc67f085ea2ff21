"""The wordings of captions: words for facial phrases, light, places, feelings; those of actions are in the lexicon.

Brackets are filled in by the grammar: {their} and {them} stand for the person who acts.
"""

from dataclasses import dataclass

from captioner.lexicon.phrases import PHRASES


def _split(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(text.split(" | ")) for name, text in table.items()}


# Words for the manners that motion.py notes.
ADVERBS: dict[str, tuple[str, ...]] = _split({
    "slowly": "slowly | unhurriedly | quite slowly",
    "suddenly": "suddenly | quickly | abruptly | all of a sudden",
    "repeatedly": "repeatedly | several times | a few times | again and again",
})  # fmt: skip

FACIAL_VERBS: dict[str, tuple[str, ...]] = _split({
    "smile": "smiles | is smiling | grins",
    "frown": "frowns | is frowning",
})  # fmt: skip

_MORE_PHRASINGS: dict[str, tuple[str, ...]] = _split({
    "frown": "furrowed brows | knitted eyebrows | lowered eyebrows | eyebrows drawn together",
    "raised_brows": "raised brows | eyebrows raised | upward pull on the eyebrows",
    "raised_inner_brows": "raised inner corners of the eyebrows | oblique eyebrows | upward pull on the inner eyebrows",
    "wide_eyes": "wide-open eyes | eyes open wide | raised upper eyelids | staring eyes",
    "narrowed_eyes": "squinting eyes | half closed eyes | tight eyelids",
    "closed_eyes": "closed eyelids | eyes closed",
    "wrinkled_nose": "nose wrinkle | crinkled nose",
    "raised_cheeks": "cheeks lifted | upward pull of the cheeks",
    "raised_upper_lip": "upper lip raised | curled upper lip",
    "smile": "upturned mouth corners | lifted lip corners | raised corners of the mouth",
    "dimples": "dimpled lip corners | dimples in the cheeks",
    "lip_corners_down": "lowered lip corners | sagging mouth corners | downturned corners of the mouth",
    "raised_chin": "pushed up chin | bunched chin",
    "puckered_lips": "pursed lips | protruding lips",
    "stretched_lips": "sideways pull on the lip corners | lips stretched sideways",
    "pressed_lips": "lips pressed together | compressed lips | tightened mouth",
    "open_mouth": "opened mouth | opening mouth | separated lips",
    "wide_open_mouth": "mouth wide open | mouth opened wide",
})  # fmt: skip
PHRASINGS: dict[str, tuple[str, ...]] = {
    name: phrase.wordings + _MORE_PHRASINGS.get(name, ()) for name, phrase in PHRASES.items()
}
SLIGHT: dict[str, tuple[str, ...]] = _split({
    "frown": "slight frown | slightly furrowed eyebrows | light frown",
    "raised_brows": "slightly raised eyebrows | slightly lifted eyebrows",
    "wide_eyes": "slightly widened eyes",
    "narrowed_eyes": "slightly narrowed eyes",
    "wrinkled_nose": "slightly wrinkled nose",
    "raised_upper_lip": "slightly raised upper lip",
    "smile": "slight smile | faint smile | slightly raised lip corners | gentle smile",
    "lip_corners_down": "slightly lowered lip corners",
    "puckered_lips": "slightly puckered lips",
    "pressed_lips": "gently pressed lips",
    "open_mouth": "slightly open mouth | slightly parted lips | slightly opened mouth | half open mouth",
})  # fmt: skip
STRONG: dict[str, tuple[str, ...]] = _split({
    "frown": "deep frown | heavy frown | deeply furrowed brows",
    "raised_brows": "highly raised eyebrows | eyebrows raised high",
    "wide_eyes": "very wide eyes | widely opened eyes",
    "narrowed_eyes": "tightly squeezed eyes",
    "wrinkled_nose": "strongly wrinkled nose | deeply wrinkled nose",
    "smile": "broad smile | big smile | bright smile | wide grin",
    "lip_corners_down": "strong downward pull on the lip corners",
    "pressed_lips": "tightly pressed lips | firmly pressed lips",
    "stretched_lips": "widely stretched lips",
    "wide_open_mouth": "widely open mouth",
})  # fmt: skip
ONE_SIDED: dict[str, tuple[str, ...]] = _split({
    "smile": "lopsided smile | one-sided smile | crooked smile | one raised lip corner",
    "dimples": "dimple on one side | single dimple",
    "raised_brows": "one raised eyebrow | single raised eyebrow | raised eyebrow on one side",
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


EMOTIONS: dict[str, Feeling] = {
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
