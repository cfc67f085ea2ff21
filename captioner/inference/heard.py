"""What is heard of a clip, as the support of what captions may say: talking, shouting, laughing, a low voice.

Sound cannot say who of several people is heard, nor whether somebody is in the picture. So silence speaks against what
is heard when it is done, and a voice never makes a deed certain that nobody saw.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from captioner.errors import VideoError
from captioner.inference.claims import Support
from captioner.sound import read_sound
from captioner.sound.deeds import HeardDeeds, hear

log = logging.getLogger(__name__)

SPOKEN = ("talks", "talks_to", "shouts", "laughs")
NOT_HEARD = 0.1  # of its probability stays to a deed that should be heard and is not
CONFIRMED = 0.4  # of the doubt about a deed goes where it is heard too
LEAST, LONGEST = 0.3, 60.0  # seconds of a span that is judged


def hear_clip(source: str, start: float, end: float) -> HeardDeeds:
    """What is heard of people between two seconds of a file; nothing of pictures in memory, and of broken sound."""
    if end - start < LEAST or not Path(source).is_file():
        return HeardDeeds(False)
    try:
        sound = read_sound(source, start=max(0.0, start), end=min(end, start + LONGEST))
    except VideoError as error:
        log.warning("%s: its sound is left out (%s)", source, error)
        return HeardDeeds(False)
    return hear(sound)


def with_sound(actions: Mapping[str, Support], deeds: HeardDeeds) -> dict[str, Support]:
    """The same supports of actions; where there is sound, with what it says of those that are heard."""
    if not deeds.heard:
        return dict(actions)
    heard = {"talks": deeds.talks, "talks_to": deeds.talks, "shouts": deeds.shouts, "laughs": deeds.laughs}
    told = dict(actions)
    for name in SPOKEN:
        before = actions.get(name)
        if before is None:
            continue
        if heard[name]:
            chance = before.probability + CONFIRMED * before.probability * (1 - before.probability)
        else:
            chance = before.probability * (NOT_HEARD if deeds.silent else 0.5 if name == "shouts" else 1.0)
        told[name] = Support(chance, before.second, f"{before.source} and sound")
    return told


def voice_support(deeds: HeardDeeds) -> dict[str, Support]:
    """How somebody speaks; without sound nothing supports that it is low or loud."""
    if not deeds.heard:
        return {}
    return {"low": Support(float(deeds.low_voice), None, "sound"), "loud": Support(float(deeds.shouts), None, "sound")}
