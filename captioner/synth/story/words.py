"""The wordings of captions: verbs for actions, words for facial phrases, light, places, feelings.

Brackets are filled in by the grammar: {their}, {them}, {they} stand for the person who acts, {other} for the
second person, {where} for that one's place.
"""

from dataclasses import dataclass

from captioner.lexicon.phrases import PHRASES
from captioner.synth.captions import ACTION_WORDS


def _split(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(text.split(" | ")) for name, text in table.items()}


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """ "nods / nodding | ..." as pairs of verb and participle."""
    return tuple((pair.split(" / ")[0], pair.split(" / ")[1]) for pair in text.split(" | "))


# Beside the wordings that the drawn clips use (captions.ACTION_WORDS).
_MORE_DEEDS: dict[str, str] = {
    "still": "looks at the camera / looking at the camera | stays still / staying still | does not move / not moving "
    "| stares ahead / staring ahead | holds still / holding still | looks into the camera / looking into the camera "
    "| keeps {their} head still / keeping {their} head still",
    "nods": "bobs {their} head / bobbing {their} head "
    "| moves {their} head up and down / moving {their} head up and down",
    "shakes_head": "moves {their} head from side to side / moving {their} head from side to side "
    "| turns {their} head from side to side / turning {their} head from side to side",
    "turns_left": "turns {their} face to the left / turning {their} face to the left | turns {their} head / turning "
    "{their} head | turns aside / turning aside | turns {their} head away / turning {their} head away",
    "turns_right": "turns {their} face to the right / turning {their} face to the right | turns {their} head / turning "
    "{their} head | turns aside / turning aside | turns {their} head away / turning {their} head away",
    "tilts_head": "inclines {their} head / inclining {their} head | cocks {their} head / cocking {their} head "
    "| leans {their} head to the side / leaning {their} head to the side",
    "lowers_head": "lowers {their} head / lowering {their} head | drops {their} head / dropping {their} head "
    "| bows {their} head / bowing {their} head | hangs {their} head / hanging {their} head "
    "| lets {their} head sink / letting {their} head sink",
    "raises_head": "raises {their} head / raising {their} head | lifts {their} head / lifting {their} head "
    "| brings {their} head up / bringing {their} head up",
    "trembles": "trembles / trembling | shivers / shivering | is shaking all over / shaking all over "
    "| is trembling / trembling | quivers / quivering",
    "leans_in": "leans forward / leaning forward | approaches the camera / approaching the camera "
    "| bends forward / bending forward | draws near / drawing near",
    "moves_away": "draws back / drawing back | backs away / backing away | steps back / stepping back "
    "| moves away from the camera / moving away from the camera | retreats / retreating",
    "enters": "enters / entering | comes in / coming in | walks in / walking in | appears from the side / appearing "
    "from the side | steps into the picture / stepping into the picture | comes into view / coming into view",
    "leaves": "leaves / leaving | walks away / walking away | goes out of view / going out of view "
    "| walks out of the picture / walking out of the picture | goes away / going away",
    "talks": "is speaking / speaking | says something / saying something | tells something / telling something "
    "| chats / chatting | talks to someone / talking to someone | is saying something / saying something "
    "| keeps talking / talking | utters a few words / uttering a few words",
    "shouts": "shouts / shouting | yells / yelling | calls out / calling out "
    "| shouts loudly / shouting loudly | is yelling / yelling | screams / screaming",
    "laughs": "laughs / laughing | is laughing / laughing | bursts out laughing / laughing | chuckles / chuckling",
    "looks_down": "lowers {their} gaze / lowering {their} gaze | looks at the ground / looking at the ground "
    "| casts {their} gaze down / casting {their} gaze down | looks downward / looking downward",
    "looks_up": "looks upward / looking upward | lifts {their} gaze / lifting {their} gaze "
    "| gazes up / gazing up | looks at something above / looking at something above",
    "looks_left": "looks aside / looking aside | looks away / looking away | glances sideways / glancing sideways "
    "| looks at something on the left / looking at something on the left | gazes to the left / gazing to the left",
    "looks_right": "looks aside / looking aside | looks away / looking away | glances sideways / glancing sideways "
    "| looks at something on the right / looking at something on the right | gazes to the right / gazing to the right",
    "looks_around": "looks around / looking around | looks left and right / looking left and right "
    "| looks about / looking about | glances around / glancing around "
    "| lets {their} gaze wander / letting {their} gaze wander",
    "closes_eyes": "closes both eyes / closing both eyes | keeps {their} eyes closed / keeping {their} eyes closed",
    "blinks": "blinks / blinking | keeps blinking / blinking | blinks again and again / blinking again and again "
    "| bats {their} eyelashes / blinking",
    "talks_to": "talks to {other} / talking to {other} | speaks to {other} / speaking to {other} "
    "| says something to {other} / saying something to {other} | talks with {other} / talking with {other} "
    "| is talking to {other} / talking to {other} | addresses {other} / addressing {other} "
    "| tells {other} something / telling {other} something",
    "listens": "listens to {other} / listening to {other} | is listening to {other} / listening to {other} "
    "| hears {other} out / hearing {other} out | pays attention to {other} / paying attention to {other}",
    "looks_at": "looks at {other} / looking at {other} | glances at {other} / glancing at {other} "
    "| gazes at {other} / gazing at {other} | watches {other} / watching {other} "
    "| stares at {other} / staring at {other}",
    "turns_to": "turns to {other} / turning to {other} | turns towards {other} / turning towards {other} "
    "| turns {their} head to {other} / turning {their} head to {other} | faces {other} / facing {other} "
    "| looks over to {other} / looking over to {other}",
}
DEEDS: dict[str, tuple[tuple[str, str], ...]] = {
    name: (*((verb, doing or verb) for verb, doing in ACTION_WORDS.get(name, ())), *_pairs(text))
    for name, text in _MORE_DEEDS.items()
}

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
