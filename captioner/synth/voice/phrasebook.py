"""What synthetic people say: sentences that tell an emotion, and sentences that tell none; both for two parties.

Training clips take the first two thirds of each list, test clips the rest: no sentence is on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

PLAIN = (
    "The train will leave the station at seven.", "I put the book on the table near the lamp.",
    "They are going to the market this afternoon.", "We need two more chairs for the kitchen.",
    "The letter was sent to the other office.", "You can turn left after the second bridge.",
    "The window on the first floor is open.", "He keeps the keys in the small drawer.",
    "There is some bread and water on the shelf.", "The meeting was moved to the next building.",
    "She will bring the papers before noon.", "The road goes along the river to the town.",
)  # fmt: skip
_WORDED: dict[str, tuple[str, ...]] = {
    "anger": (
        "I hate this, stop it now.", "You lied to me again, I am furious.", "Get out, I am sick of your excuses.",
        "This makes me so angry.", "How dare you talk like that, you idiot.", "I am furious, stop lying to me.",
    ),
    "fear": (
        "I am so scared, somebody is out there.", "Please help me, I am afraid.",
        "Do not leave me alone, I am terrified.",
        "There is danger, we must run.", "I am afraid that it comes back.", "I am scared, please help.",
    ),
    "happiness": (
        "I am so happy for you.", "This is wonderful, I love it.", "What a lovely day, I am so glad.",
        "We won, this is great.", "I love it here, it is wonderful.", "I am so glad that you are happy.",
    ),
    "sadness": (
        "I miss him so much, it hurts.", "She is gone and I am alone.", "I lost everything, I am so sad.",
        "I cannot stop crying.", "It hurts, I am so lonely.", "I am sad that she is gone.",
    ),
    "surprise": (
        "Oh my, I did not expect that.", "Really, are you serious.", "What, I cannot believe it.",
        "Oh, what a surprise.", "Are you serious, I did not know.", "I cannot believe that, really.",
    ),
}  # fmt: skip
WORDED: Mapping[str, tuple[str, ...]] = MappingProxyType({**_WORDED, "neutral": PLAIN})
TRAINED = 2 / 3


def sample_sentence(rng: np.random.Generator, emotion: str, test: bool) -> str:
    """A random sentence worded as an emotion, of one party's part of the list."""
    options = WORDED.get(emotion, PLAIN)
    cut = round(TRAINED * len(options))
    part = options[cut:] if test else options[:cut]
    return part[int(rng.integers(len(part)))]
