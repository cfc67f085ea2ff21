"""Is it chance? Bootstrap intervals of one system, and a paired test of two, from statistics that add up.

Nothing is scored twice: a resampled set's value follows from the sums of its videos' statistics, those in
`CaptionScores.statistics` or facial-phrase counts under the name PHRASES. CIDEr keeps the document frequency of the
whole set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from captioner.errors import CaptionerError
from eval.emotion import phrase_f1
from eval.metrics import addends, values

PHRASES = "Phrase F1"  # kind and metric of the counts that eval.emotion.phrase_counts makes
_CHUNK = 4_000_000  # weights held at once, a bound on memory

Statistics = Mapping[str, np.ndarray]


class SignificanceError(CaptionerError):
    """Statistics that cannot be resampled or compared."""


@dataclass(frozen=True)
class Interval:
    """A corpus value and the bootstrap interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two systems' corpus values, b - a with its paired bootstrap interval, randomisation p."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


def intervals(statistics: Statistics, samples: int = 1000, level: float = 0.95, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap interval of each metric, over videos drawn with replacement."""
    videos = _check(statistics, samples, level)
    drawn = _bootstrap(statistics, videos, samples, seed)
    return {
        name: Interval(float(value), *_bounds(drawn[name], level))
        for name, value in _corpus(statistics, videos).items()
    }


def share_interval(hits: int, count: int, z: float = 1.96) -> Interval:
    """A share with Wilson's 95 % interval."""
    p = hits / count
    middle, spread = p + z * z / (2 * count), z * (p * (1 - p) / count + z * z / (4 * count * count)) ** 0.5
    return Interval(p, (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count))


def compare_systems(
    a: Statistics, b: Statistics, samples: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, Comparison]:
    """Each metric of two systems on the same videos, rows in the same order: difference, interval, p.

    The p is the share of random exchanges of the two systems' captions that differ at least as much.
    """
    if a.keys() != b.keys():
        raise SignificanceError(f"two systems with other metrics: {', '.join(a)} against {', '.join(b)}")
    videos = _check(a, samples, level)
    if videos != _check(b, samples, level):
        raise SignificanceError(f"two systems with other videos: {videos} against {len(next(iter(b.values())))}")
    value_a, value_b = _corpus(a, videos), _corpus(b, videos)
    drawn_a, drawn_b = (_bootstrap(side, videos, samples, seed) for side in (a, b))
    exchanged = _exchange(a, b, videos, samples, seed)
    result = {}
    for name in value_a:
        difference = float(value_b[name] - value_a[name])
        # Sums taken in another order differ in their last bits: equal must count as equal.
        as_far = np.abs(exchanged[name]) >= abs(difference) - 1e-12
        p = float((1 + as_far.sum()) / (1 + samples))
        low, high = _bounds(drawn_b[name] - drawn_a[name], level)
        result[name] = Comparison(float(value_a[name]), float(value_b[name]), difference, low, high, p)
    return result


def _check(statistics: Statistics, samples: int, level: float) -> int:
    """The number of videos, the same in every statistic."""
    if samples < 1 or not 0 < level < 1:
        raise SignificanceError(f"given {samples} samples, level {level}; allowed at least 1, between 0 and 1")
    sizes = {len(rows) for rows in statistics.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise SignificanceError(f"statistics of {sorted(sizes)} videos; allowed one number of them, above 0")
    return sizes.pop()


def _values(kind: str, sums: np.ndarray, videos: int) -> dict[str, np.ndarray]:
    return {kind: phrase_f1(sums)} if kind == PHRASES else values(kind, sums, videos)


def _corpus(statistics: Statistics, videos: int) -> dict[str, np.ndarray]:
    """{metric: ()} of the whole set."""
    found: dict[str, np.ndarray] = {}
    for kind, rows in statistics.items():
        found |= _values(kind, addends(kind, rows).sum(0), videos)
    return found


def _bootstrap(statistics: Statistics, videos: int, samples: int, seed: int) -> dict[str, np.ndarray]:
    """{metric: (samples,)}; the same seed draws the same videos, so two systems stay paired."""
    rng = np.random.default_rng(seed)
    chance = np.full(videos, 1 / videos)
    added = {kind: addends(kind, rows) for kind, rows in statistics.items()}
    sums: dict[str, list[np.ndarray]] = {kind: [] for kind in added}
    for size in _chunks(samples, videos):
        weights = rng.multinomial(videos, chance, size).astype(float)
        for kind, rows in added.items():
            sums[kind].append(weights @ rows)
    return {
        name: drawn
        for kind, parts in sums.items()
        for name, drawn in _values(kind, np.concatenate(parts), videos).items()
    }


def _exchange(a: Statistics, b: Statistics, videos: int, samples: int, seed: int) -> dict[str, np.ndarray]:
    """{metric: (samples,)}: b - a after the captions of each video change sides by the toss of a coin."""
    rng = np.random.default_rng((seed, 1))
    added = {kind: (addends(kind, a[kind]), addends(kind, b[kind])) for kind in a}
    found: dict[str, list[np.ndarray]] = {}
    for size in _chunks(samples, videos):
        coins = rng.integers(0, 2, (size, videos)).astype(float)
        for kind, (rows_a, rows_b) in added.items():
            moved = coins @ (rows_b - rows_a)
            side_a = _values(kind, rows_a.sum(0) + moved, videos)
            side_b = _values(kind, rows_b.sum(0) - moved, videos)
            for name in side_a:
                found.setdefault(name, []).append(side_b[name] - side_a[name])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _chunks(samples: int, videos: int) -> Iterator[int]:
    """Sizes that sum to `samples`, each small enough for the bound on memory."""
    most = max(1, _CHUNK // videos)
    for start in range(0, samples, most):
        yield min(most, samples - start)


def _bounds(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
