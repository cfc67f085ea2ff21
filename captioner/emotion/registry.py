"""The recognisers by name. A module is imported when its kind is asked for: `caption --help` stays fast."""

from __future__ import annotations

from importlib import import_module

from captioner.emotion.contract import RecogniserKind
from captioner.errors import ConfigError, unknown

KINDS = {
    "pe_clip": "captioner.emotion.pe_clip.pe_clip",
    "emotion_clip": "captioner.emotion.emotion_clip.emotion_clip",
    "av_canet": "captioner.emotion.av_canet.av_canet",
    "mer_clip": "captioner.emotion.mer_clip.mer_clip",
}
"""Name -> the module with its `RECOGNISER`, a RecogniserKind."""
OLDEST = "pe_clip"  # what folders and configurations mean that name no kind


def kind_of(name: str | None, key: str = "kind") -> RecogniserKind:
    """The kind of a name, in the registry's spelling, with hyphens or without; None is the oldest one."""
    given = (name or OLDEST).replace("-", "_")
    plain = next((kind for kind in KINDS if kind.replace("_", "") == given.replace("_", "")), given)
    if plain not in KINDS:
        raise ConfigError(unknown(key, name, KINDS))
    kind: RecogniserKind = import_module(KINDS[plain]).RECOGNISER
    return kind
