"""Words that tell a sentiment: a plain scorer for when no sentiment model is at hand. It knows no grammar, no irony."""

import re

SENTIMENT_LABELS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
"""The seven of the named sentiment model, in its order."""

STEMS: dict[str, str] = {
    "anger": "angr|anger|furi|furious|rage|mad|hate|annoy|irritat|damn|yell|shout|outrag|hostil|resent|stupid|idiot",
    "disgust": "disgust|gross|revolt|nasty|yuck|ugh|sick of|repuls|vile|filth|awful|contempt|scorn|sneer|disdain",
    "fear": "afraid|fear|scare|terrif|frighten|panic|horror|danger|worr|anxi|nervous|help me|run away|threat|uneas",
    "joy": "happ|joy|glad|delight|love|wonderful|great|laugh|smil|cheer|fun|thank|congrat|enjoy|pleas|merr",
    "sadness": "sad|sorr|cry|tears|miss you|lonel|grie|hopeless|helpless|miser|regret|died|lost|unhapp|disappoint",
    "surprise": "surpris|wow|amaz|astonish|unbeliev|what\\?|really\\?|oh my|no way|shock|unexpected|stun|startl",
}
HIT = 4.0  # what a word gives its sentiment, and the lack of any gives neutral
_PATTERNS = {name: re.compile(rf"\b(?:{stems})") for name, stems in STEMS.items()}


def sentiment_logits(text: str) -> list[float]:
    """Seven logits of a sentence: each sentiment by its words, neutral by their absence."""
    plain = f"{text.lower()} "
    hits = {name: len(pattern.findall(plain)) for name, pattern in _PATTERNS.items()}
    hits["neutral"] = int(not any(hits.values()))
    return [HIT * min(hits[name], 2) for name in SENTIMENT_LABELS]
