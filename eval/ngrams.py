"""BLEU, CIDEr and ROUGE-L statistics of a whole caption set at once, each n-gram counted once.

Axes: V videos, R references, C = R + V captions (references first, then one hypothesis a video), 4 orders.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDERS = 4
SIGMA = 6.0  # width of CIDEr's length penalty, in bigrams
BETA = 1.2  # weight of recall in ROUGE-L

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """How often each n-gram of one order stands in each caption; rows sorted by caption, then n-gram."""

    caption: Ints
    gram: Ints
    count: Ints
    size: int  # number of distinct n-grams


@dataclass(frozen=True)
class Table:
    """The counted captions: `lengths` (C,), `owner` (R,) the video of a reference, one Counts an order."""

    lengths: Ints
    owner: Ints
    orders: tuple[Counts, ...]
    videos: int


def count_ngrams(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> Table:
    """The n-gram counts of tokenised captions, references by video and one hypothesis for each."""
    words = [caption.split() for captions in references for caption in captions]
    words += [caption.split() for caption in hypotheses]
    lengths = np.array([len(line) for line in words], dtype=np.int64)
    owner = np.repeat(np.arange(len(hypotheses)), [len(captions) for captions in references])
    known: dict[str, int] = {}
    flat = [known.setdefault(word, len(known)) for line in words for word in line]
    tokens = np.array(flat, dtype=np.int64)
    caption = np.repeat(np.arange(len(words)), lengths)
    orders, grams, place = [], tokens, np.arange(len(tokens))
    size = max(len(known), 1)
    for order in range(ORDERS):
        if order:
            # An n-gram is an (n-1)-gram and the word after it; both must stand in one caption.
            inside = place + order < len(tokens)
            inside[inside] = caption[place[inside]] == caption[place[inside] + order]
            place = place[inside]
            pairs = grams[inside] * max(len(known), 1) + tokens[place + order]
            distinct, grams = np.unique(pairs, return_inverse=True)
            size = max(len(distinct), 1)
        rows, counts = np.unique(caption[place] * size + grams, return_counts=True)
        orders.append(Counts(rows // size, rows % size, counts, size))
    return Table(lengths, owner, tuple(orders), len(hypotheses))


def _matches(table: Table, counts: Counts) -> tuple[slice, Ints, Ints]:
    """Rows of hypotheses; rows of references that share an n-gram with theirs; the row (of those) shared."""
    references = len(table.owner)
    first = int(np.searchsorted(counts.caption, references))
    keys = (counts.caption[first:] - references) * counts.size + counts.gram[first:]
    wanted = table.owner[counts.caption[:first]] * counts.size + counts.gram[:first]
    if not len(keys):
        return slice(first, None), np.zeros(0, np.int64), np.zeros(0, np.int64)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    rows = np.flatnonzero(keys[at] == wanted)
    return slice(first, None), rows, at[rows]


def bleu_statistics(table: Table) -> Floats:
    """Hypothesis length, closest reference length, matched and tried n-grams of each order, (V, 10)."""
    references = len(table.owner)
    out = np.zeros((table.videos, 2 + 2 * ORDERS))
    lengths = table.lengths[references:]
    out[:, 0] = lengths
    own = table.lengths[:references]
    # Closest length; of two equally close ones the shorter. One sort key per reference, smallest per video.
    far = np.abs(own - lengths[table.owner])
    best = np.lexsort((own, far, table.owner))
    starts = np.searchsorted(table.owner[best], np.arange(table.videos))
    out[:, 1] = own[best[starts]]
    out[:, 2 + ORDERS :] = np.maximum(0, lengths[:, None] - np.arange(ORDERS))
    for order, counts in enumerate(table.orders):
        hypothesis, rows, at = _matches(table, counts)
        highest = np.zeros(len(counts.count[hypothesis]), dtype=np.int64)
        np.maximum.at(highest, at, counts.count[rows])
        matched = np.minimum(highest, counts.count[hypothesis])
        videos = counts.caption[hypothesis] - references
        out[:, 2 + order] = np.bincount(videos, weights=matched, minlength=table.videos)
    return out


def bleu(statistics: Floats) -> Floats:
    """BLEU-1..4 of statistics (..., 10), with the toolkit's tiny constants, (..., 4); sum for a corpus."""
    length, reference = statistics[..., :1], statistics[..., 1:2]
    matched, tried = statistics[..., 2 : 2 + ORDERS], statistics[..., 2 + ORDERS :]
    precision = np.cumprod((matched + 1e-15) / (tried + 1e-9), axis=-1)
    ratio = (length + 1e-15) / (reference + 1e-9)
    brevity = np.exp(np.minimum(1 - 1 / ratio, 0.0))
    return precision ** (1 / np.arange(1, ORDERS + 1)) * brevity


def cider(table: Table) -> Floats:
    """CIDEr (CIDEr-D form, scale 0..10) of each video, (V,); document frequency over these references."""
    references = len(table.owner)
    logs = np.array([0.0] + [math.log(k) for k in range(1, table.videos + 1)])
    bigrams = np.maximum(table.lengths - 1, 0)
    delta = (bigrams[references:][table.owner] - bigrams[:references]).astype(float)
    penalty = np.e ** (-(delta**2) / (2 * SIGMA**2))
    total = np.zeros(references)
    for counts in table.orders:
        hypothesis, rows, at = _matches(table, counts)
        in_reference = slice(0, hypothesis.start)
        videos = table.owner[counts.caption[in_reference]]
        # Sorted and compared by hand: numpy's unique hashes here, which takes six times as long.
        pairs = np.sort(videos * counts.size + counts.gram[in_reference])
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        frequency = np.bincount(pairs % counts.size, minlength=counts.size)
        weight = counts.count * (logs[table.videos] - logs[frequency])[counts.gram]
        norm = np.sqrt(np.bincount(counts.caption, weights=weight**2, minlength=len(table.lengths)))
        shared = np.minimum(weight[hypothesis][at], weight[rows]) * weight[rows]
        value = np.bincount(counts.caption[rows], weights=shared, minlength=references).astype(np.float64)
        scale = norm[references:][table.owner] * norm[:references]
        total += np.divide(value, scale, out=value, where=scale != 0) * penalty
    mean = np.bincount(table.owner, weights=total, minlength=table.videos) / ORDERS
    return mean / np.bincount(table.owner, minlength=table.videos) * 10


def rouge(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> Floats:
    """ROUGE-L of each video, (V,): best precision and best recall over its references, taken apart."""
    pairs = zip(hypotheses, references, strict=True)
    return np.array([_rouge(hypothesis, captions) for hypothesis, captions in pairs])


def _rouge(hypothesis: str, references: Sequence[str]) -> float:
    words = hypothesis.split(" ")
    places: dict[str, int] = {}
    for place, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << place
    precision = recall = 0.0
    for reference in set(references):
        other = reference.split(" ")
        common = _common(places, len(words), other)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(other))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common(places: dict[str, int], length: int, other: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel after Hyyrö: each zero bit is a gained word."""
    full = (1 << length) - 1
    bits = full
    for word in other:
        match = places.get(word, 0)
        if match:
            kept = bits & match
            bits = (bits + kept | bits - kept) & full
    return length - bits.bit_count()
