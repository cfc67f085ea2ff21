"""Two caption files side by side: which hypotheses and emotions stand against which references."""

import logging
from collections.abc import Iterable, Mapping, Sequence

from captioner.lexicon.emotions import MAFW_LABELS
from eval.io import Emotion, Entry, hypotheses, references
from eval.metrics import ScoreError
from eval.report import EmotionPairs, Evaluation, evaluate

_log = logging.getLogger("eval")


def evaluate_entries(
    entries: Mapping[str, Entry],
    guesses: Mapping[str, Entry],
    asked: Sequence[str],
    split: str | None = None,
    samples: int = 0,
    seed: int = 0,
) -> Evaluation:
    """`evaluate` of one file's hypotheses against the references of another, of one split where it is named."""
    refs, hyps = paired_captions(entries, guesses, split)
    emotions = paired_emotions(entries, guesses, split) if "classes" in asked else None
    return evaluate(refs, hyps, asked, emotions=emotions, samples=samples, seed=seed)


def paired_captions(
    entries: Mapping[str, Entry], guesses: Mapping[str, Entry], split: str | None
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """References and the hypotheses for them; those of other splits or of clips without captions go."""
    refs, hyps = references(entries, split), hypotheses(guesses)
    left = [key for key in hyps if key in entries and key not in refs]
    if left:
        _log.warning("%d hypotheses left out: no references, or of another split (%s)", len(left), left[0])
    kept = {key: caption for key, caption in hyps.items() if key not in left}
    missing = len(refs.keys() - kept.keys())
    splits = sorted({entry.split for entry in entries.values() if entry.split})
    if missing and split is None and len(splits) > 1:
        raise ScoreError(f"{missing} of {len(refs)} videos lack a hypothesis; choose a --split of {', '.join(splits)}")
    return refs, kept


def paired_emotions(entries: Mapping[str, Entry], guesses: Mapping[str, Entry], split: str | None) -> EmotionPairs:
    """True and predicted emotions of the clips that have one; a clip without a prediction is refused."""
    truth = {
        key: entry.emotion
        for key, entry in entries.items()
        if isinstance(entry.emotion, str) and split in (None, entry.split)
    }
    predicted = {key: guesses[key].emotion for key in truth if key in guesses}
    absent = [key for key in truth if predicted.get(key) is None]
    if not truth or absent:
        side = f"{len(absent)} hypotheses (first {absent[0]!r})" if truth else "the references"
        raise ScoreError(f"classes: {side} carry no `emotion`; leave `classes` out of --metrics or add it")
    known = {*truth.values(), *(name for guess in predicted.values() for name in _named(guess))}
    labels = MAFW_LABELS if known <= set(MAFW_LABELS) else sorted(known)
    return EmotionPairs(truth, {key: guess for key, guess in predicted.items() if guess is not None}, labels)


def _named(guess: Emotion) -> Iterable[str]:
    return (guess,) if isinstance(guess, str) else guess or ()
