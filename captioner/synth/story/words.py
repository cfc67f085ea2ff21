"""The wordings of facial phrases: usual, slight, strong and one-sided ones; all other words are in the lexicon."""

from captioner.lexicon.phrases import PHRASES


def _split(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(text.split(" | ")) for name, text in table.items()}


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
