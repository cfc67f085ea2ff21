"""How much of the expression a caption gets right: facial phrases, emotion words, emotion classes."""

from collections.abc import Iterable, Mapping, Set as AbstractSet
from dataclasses import dataclass

from captioner.errors import CaptionerError
from captioner.phrases import find_phrases


class EmotionScoreError(CaptionerError):
    """Labels or captions that cannot be scored together."""


@dataclass(frozen=True)
class PhraseScores:
    """Facial phrases, micro-averaged: hits, given and wanted phrases summed over all videos, then divided."""

    precision: float
    recall: float
    f1: float
    hits: int
    given: int
    wanted: int
    videos: int


def phrase_scores(refs: Mapping[str, Iterable[str]], hyps: Mapping[str, str | Iterable[str]]) -> PhraseScores:
    """Micro precision, recall and F1 of the facial phrases in each caption against those of its video.

    Both sides take phrase names (a set) or captions (text or a list); a video's phrases are the union over its captions.
    """
    if refs.keys() != hyps.keys():
        odd = sorted(map(str, refs.keys() ^ hyps.keys()))
        raise EmotionScoreError(f"{len(odd)} ids stand on one side only ({', '.join(odd[:5])}); both need the same ids")
    hits = given = wanted = 0
    for key, reference in refs.items():
        truth, found = phrases_of(reference), phrases_of(hyps[key])
        hits += len(truth & found)
        given += len(found)
        wanted += len(truth)
    return _phrase_scores(hits, given, wanted, len(refs))


def phrases_of(source: str | Iterable[str]) -> frozenset[str]:
    """Names of the facial phrases in a caption or in any of several; a set is taken as the names themselves."""
    if isinstance(source, AbstractSet):
        return frozenset(source)
    captions = [source] if isinstance(source, str) else source
    return frozenset(found.name for caption in captions for found in find_phrases(caption))


def _phrase_scores(hits: int, given: int, wanted: int, videos: int) -> PhraseScores:
    precision = hits / given if given else 0.0
    recall = hits / wanted if wanted else 0.0
    both = precision + recall
    return PhraseScores(precision, recall, 2 * precision * recall / both if both else 0.0, hits, given, wanted, videos)
