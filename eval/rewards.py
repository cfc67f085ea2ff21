"""What drawn captions are worth in training: CIDEr against a clip's references, as the toolkit counts it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from eval.ngrams import ORDERS, SIGMA
from eval.tokenize import tokenize

Grams = Counter[tuple[str, ...]]


class CiderReward:
    """CIDEr (scale 0 to 10) of captions, document frequencies those of all training references."""

    def __init__(self, references: Mapping[str, Sequence[str]]) -> None:
        words = {key: [line.split() for line in _tokens(captions)] for key, captions in references.items()}
        self.grams = {key: [_grams(line) for line in lines] for key, lines in words.items()}
        frequency: Counter[tuple[str, ...]] = Counter()
        for counted in self.grams.values():
            frequency.update({gram for each in counted for gram in each})
        self.log_videos = math.log(max(1, len(references)))
        self.frequency = frequency
        self.vectors = {key: [self._vector(each) for each in counted] for key, counted in self.grams.items()}

    def __call__(self, ids: Sequence[str], captions: Sequence[str]) -> list[float]:
        """The reward of each caption of the clip of that id."""
        lines = _tokens(captions)
        return [self._score(_grams(line.split()), key) for key, line in zip(ids, lines, strict=True)]

    def _vector(self, counted: Grams) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        """tf-idf by order, the norm of each, the length in bigrams."""
        orders: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDERS)]
        for gram, count in counted.items():
            idf = self.log_videos - math.log(max(1, self.frequency[gram]))
            orders[len(gram) - 1][gram] = count * idf
        norms = [math.sqrt(sum(value**2 for value in order.values())) for order in orders]
        return orders, norms, sum(count for gram, count in counted.items() if len(gram) == 2)

    def _score(self, counted: Grams, key: str) -> float:
        orders, norms, length = self._vector(counted)
        total = 0.0
        for others, other_norms, other_length in self.vectors[key]:
            penalty = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
            for own, other, norm, other_norm in zip(orders, others, norms, other_norms, strict=True):
                shared = sum(min(value, other.get(gram, 0.0)) * other.get(gram, 0.0) for gram, value in own.items())
                total += penalty * shared / (norm * other_norm) if norm and other_norm else 0.0
        return 10 * total / ORDERS / max(1, len(self.vectors[key]))


def _tokens(captions: Sequence[str]) -> list[str]:
    return tokenize(list(captions))


def _grams(words: Sequence[str]) -> Grams:
    places = range(len(words))
    return Counter(tuple(words[at : at + n]) for n in range(1, ORDERS + 1) for at in places if at + n <= len(words))
