"""METEOR 1.5's word alignment: four kinds of matches, and the beam search that picks the best set of them.

A match is (kind, start, length, begin, taken): reference words start..start+length, hypothesis words
begin..begin+taken. Kinds are 0 exact, 1 stem, 2 synonym, 3 paraphrase. Order breaks ties, so everything here
keeps the order of the jar.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from eval.lexical import LONGEST, Lexicon, Word

WEIGHTS = (1.0, 0.6, 0.8, 0.6)  # of the kinds, in the score
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75  # METEOR 1.5, English, ranking task
_SEARCH_WEIGHTS = (1.0, 0.5, 0.5, 0.5)
_BEAM = 40
_PARAPHRASE = 3
_ROUNDING = 1e-9  # far above what the order of a sum can change
_CONTENT = (DELTA, 1.0 - DELTA)  # share of a word in precision and recall: content, function

Match = tuple[int, int, int, int, int]
Statistics = tuple[int, ...]  # the jar's 23 numbers: see `_statistics`
Order = tuple[int, int, int, int]
Related = tuple[Order, tuple[str, ...], int, int]  # order, the phrase a reference may hold, begin, taken
Hits = Mapping[int, list[Related]]  # those a reference holds, by the word they start at


class Paraphrases:
    """Entries of the paraphrase table by either side, then by the first word of the other side."""

    def __init__(self, entries: Iterable[tuple[str, str]]) -> None:
        self._others: dict[str, dict[str, list[tuple[int, int, tuple[str, ...]]]]] = {}
        for place, (phrase, other) in enumerate(entries):
            self._add(other, 0, place, tuple(phrase.split(" ")))
            self._add(phrase, 1, place, tuple(other.split(" ")))

    def _add(self, said: str, direction: int, place: int, meant: tuple[str, ...]) -> None:
        by_word = self._others.setdefault(said, {})
        by_word.setdefault(meant[0], []).append((direction, place, meant))

    def related(self, texts: Sequence[str], vocabulary: set[str]) -> dict[str, list[Related]]:
        """What a reference of that vocabulary may say for phrases of a hypothesis, by its first word."""
        found: dict[str, list[Related]] = {}
        for begin, taken, phrase in phrases(texts):
            others = self._others.get(phrase)
            for word in others.keys() & vocabulary if others else ():
                for direction, place, meant in others[word] if others else ():
                    # The jar first walks phrases of the reference by length, then those of the hypothesis.
                    order = (1, begin, taken, place) if direction else (0, len(meant), place, begin)
                    found.setdefault(word, []).append((order, meant, begin, taken))
        return found


def phrases(texts: Sequence[str]) -> list[tuple[int, int, str]]:
    """(begin, length, phrase) of each phrase that could stand in the table."""
    size = len(texts)
    return [
        (begin, length, " ".join(texts[begin : begin + length]))
        for begin in range(size)
        for length in range(1, min(LONGEST, size - begin) + 1)
    ]


@dataclass(frozen=True)
class Known:
    """What one word of a video's references has in common with the hypothesis."""

    matches: list[tuple[int, int]]  # (kind, begin), kind by kind
    function: bool
    exact: int  # hypothesis words it matches, as bits: exactly, as a synonym, by stem
    synonym: int
    stem: int
    weight: float  # the most it can add to the recall


_UNKNOWN = (Known([], False, 0, 0, 0, 0.0), Known([], True, 0, 0, 0, 0.0))


def _marks(word: Word) -> tuple[Iterable[object], ...]:
    """By what a word is alike another, for each kind but paraphrase."""
    return (word.key,), (word.stem,), word.synsets


class Aligner:
    """Finds the reference of a video that METEOR scores highest, and the statistics of its alignment."""

    def __init__(self, lexicon: Lexicon, paraphrases: Paraphrases, said: Iterable[str]) -> None:
        """`said`: every word of the hypotheses to come."""
        self._lexicon = lexicon
        self._paraphrases = paraphrases
        self._kinds: dict[str, dict[str, tuple[int, ...]]] = {}
        self._said: tuple[dict[object, list[str]], ...] = ({}, {}, {})  # by key, stem, sense
        for word in said:
            for index, marks in zip(self._said, _marks(lexicon.word(word)), strict=True):
                for mark in marks:
                    index.setdefault(mark, []).append(word)

    def best(self, hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> Statistics:
        """Statistics of the first reference with the highest score, all captions normalised words.

        References are aligned by falling upper bound of their score, while the bound allows a better one.
        """
        distinct = list(dict.fromkeys(map(tuple, references)))
        vocabulary = {word for reference in distinct for word in reference}
        related = self._paraphrases.related(hypothesis, vocabulary)
        places: dict[str, list[int]] = {}
        for place, word in enumerate(hypothesis):
            places.setdefault(word, []).append(place)
        known = {word: self._known(word, places) for word in vocabulary}
        said = [self._lexicon.word(word).function for word in hypothesis]
        bounded = []
        for place, reference in enumerate(distinct):
            hits = _hits(reference, related)
            bounded.append((-_bound(said, reference, known, hits), place, reference, hits))
        bounded.sort(key=itemgetter(0, 1))
        found: tuple[float, int, Statistics] = (-1.0, 0, ())
        for bound, place, reference, hits in bounded:
            if -bound < found[0] - _ROUNDING:
                break
            matches = self._matches(hypothesis, reference, known, hits)
            chosen = _choose(matches, len(hypothesis), len(reference))
            statistics = _statistics(said, [known[word].function for word in reference], chosen)
            # Of equal scores the first reference counts.
            found = max(found, (alignment_score(statistics), -place, statistics))
        return found[2]

    def _known(self, word: str, places: Mapping[str, list[int]]) -> Known:
        kinds = self._kinds.get(word)
        if kinds is None:
            kinds = self._kinds[word] = self._alike(word)
        function = self._lexicon.word(word).function
        common = kinds.keys() & places.keys()
        if not common:
            return _UNKNOWN[function]
        matches = sorted((kind, begin) for other in common for kind in kinds[other] for begin in places[other])
        bits = [0, 0, 0]
        for kind, begin in matches:
            bits[kind] |= 1 << begin
        weight = max(WEIGHTS[kind] for kind, _ in matches) * _CONTENT[function]
        return Known(matches, function, bits[0], bits[2], bits[1], weight)

    def _alike(self, word: str) -> dict[str, tuple[int, ...]]:
        """Words of the hypotheses that match a word, with the kinds of match."""
        kinds: dict[str, tuple[int, ...]] = {}
        for kind, (index, marks) in enumerate(zip(self._said, _marks(self._lexicon.word(word)), strict=True)):
            for other in {other for mark in marks for other in index.get(mark, ())}:
                # An exact match is neither a stem match nor a synonym.
                if kinds.get(other) != (0,):
                    kinds[other] = (*kinds.get(other, ()), kind)
        return kinds

    def _matches(
        self, hypothesis: Sequence[str], reference: Sequence[str], known: Mapping[str, Known], hits: Hits
    ) -> list[list[Match]]:
        """All matches that start at each word of the reference."""
        rows = [
            [(kind, start, 1, begin, 1) for kind, begin in known[word].matches] for start, word in enumerate(reference)
        ]
        if len(hypothesis) == len(reference) and self._keys(hypothesis) == self._keys(reference):
            return [[match for match in row if match[0] == 0] for row in rows]
        for start, here in hits.items():
            rows[start] += [(_PARAPHRASE, start, len(meant), begin, taken) for _, meant, begin, taken in here]
        return rows

    def _keys(self, words: Sequence[str]) -> list[int]:
        return [self._lexicon.word(word).key for word in words]


def _hits(reference: Sequence[str], related: Mapping[str, list[Related]]) -> Hits:
    """The paraphrases that begin at words of the reference, in the jar's order."""
    hits = {}
    for start, word in enumerate(reference):
        if word in related:
            here = [entry for entry in related[word] if reference[start : start + len(entry[1])] == entry[1]]
            if here:
                here.sort(key=itemgetter(0))
                hits[start] = here
    return hits


def _bound(said: Sequence[bool], reference: Sequence[str], known: Mapping[str, Known], hits: Hits) -> float:
    """No alignment of this reference scores higher: every word takes its best match, asked for or not."""
    exact = synonym = other = before = links = reached = 0
    recall = length = 0.0
    for word in reference:
        here = known[word]
        length += _CONTENT[here.function]
        recall += here.weight
        exact |= here.exact
        synonym |= here.synonym
        other |= here.stem
        bits = here.exact | here.synonym | here.stem
        reached += bits != 0
        links += before << 1 & bits != 0
        before = bits
    for here_hits in hits.values():
        for _, meant, begin, taken in here_hits:
            other |= _bits(begin, taken)
            recall += WEIGHTS[_PARAPHRASE] * DELTA * len(meant)
            reached += len(meant)
    if not reached or not said:
        return 0.0
    words = 0.0
    precision = 0.0
    covered = 0
    for place, function in enumerate(said):
        words += _CONTENT[function]
        bit = 1 << place
        if (exact | synonym | other) & bit:
            covered += 1
            weight = 1.0 if exact & bit else WEIGHTS[2] if synonym & bit else WEIGHTS[1]
            precision += weight * _CONTENT[function]
    if hits:
        # A paraphrase takes several words into one match, so one chunk may hold them all.
        whole = covered == len(said) and reached >= len(reference)
        chunk = 0.0 if whole else 2 / (covered + min(reached, len(reference)))
        kept: float = 1 - GAMMA * chunk**BETA
        return _mean(precision / words, min(recall / length, 1.0)) * kept
    highest = 0.0
    for matches in range(1, min(covered, reached) + 1):
        # A chunk of so many matches holds one link fewer, and there are only so many links.
        chunks = max(1, matches - links)
        whole = chunks == 1 and matches == len(said) == len(reference)
        mean = _mean(min(precision, matches * DELTA) / words, min(recall, matches * DELTA) / length)
        highest = max(highest, mean * (1.0 if whole else 1 - GAMMA * (chunks / matches) ** BETA))
    return highest


def _mean(precision: float, recall: float) -> float:
    return 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall)


def _statistics(said: Sequence[bool], meant: Sequence[bool], chosen: Sequence[Match | None]) -> Statistics:
    """Words, then function words, of both sides; matches by kind, class and side; chunks; matched words."""
    counts = [0] * 16  # by kind: content of hypothesis, of reference, function words of both
    for match in chosen:
        if match:
            kind, start, length, begin, taken = match
            for place in range(begin, begin + taken):
                counts[4 * kind + 2 * said[place]] += 1
            for place in range(start, start + length):
                counts[4 * kind + 2 * meant[place] + 1] += 1
    matched = (sum(counts[::2]), sum(counts[1::2]))
    return len(said), len(meant), sum(said), sum(meant), *counts, _chunks(chosen), *matched


def _choose(matches: Sequence[list[Match]], said: int, meant: int) -> list[Match | None]:
    """The match chosen at each word of the reference: at once where nothing competes, else by beam search."""
    cover_said, cover_meant = [0] * said, [0] * meant
    for row in matches:
        for _, start, length, begin, taken in row:
            for place in range(begin, begin + taken):
                cover_said[place] += 1
            for place in range(start, start + length):
                cover_meant[place] += 1
    fixed: list[Match | None] = [None] * meant
    used_said = used_meant = 0
    open_rows = 0
    for at, row in enumerate(matches):
        if len(row) == 1:
            _, start, length, begin, taken = row[0]
            if max(cover_meant[start : start + length]) == 1 == max(cover_said[begin : begin + taken]):
                fixed[at] = row[0]
                used_meant |= _bits(start, length)
                used_said |= _bits(begin, taken)
                continue
        open_rows += bool(row)
    return _search(matches, fixed, used_said, used_meant) if open_rows else fixed


# A path of the search: rank (minus weighted matches), chunks, distance: by these it is sorted; weighted matches of
# both (said, meant); next word of the reference; end of the last match in the hypothesis, -1 for none; used words
# of both as bits; chain of chosen matches.
Path = tuple[int, int, int, int, int, int, int, int, int, Any]
# A match as the search takes it: words of both as bits, weights of both, begin and end in the hypothesis, next word
# of the reference, distance, the match itself.
Step = tuple[int, int, float, float, int, int, int, int, Match]
_RANK = itemgetter(0, 1, 2)


def _search(
    matches: Sequence[list[Match]], fixed: list[Match | None], used_said: int, used_meant: int
) -> list[Match | None]:
    """Beam search over the words of the reference; the jar's quirks (see `_grow`) are kept."""
    steps = [[_step(match) for match in row] for row in matches]
    fixed_steps = [_step(match) if match else None for match in fixed]
    paths: list[Path] = [(0, 0, 0, 0, 0, 0, -1, used_said, used_meant, None)]
    for at, row in enumerate(steps):
        paths.sort(key=_RANK)
        coming: list[Path] = []
        for path in paths[:_BEAM]:
            if not path[8] >> at & 1:
                _grow(path, row, coming)
            elif at < path[5]:
                coming.append(path)
            else:
                step = fixed_steps[path[5]]
                coming += [_taken(path, step)] if step else []
        paths = coming or paths[:1]
    paths = sorted(paths, key=_RANK)[:_BEAM]
    paths.sort(key=lambda path: (path[0], path[1] + (path[6] != -1), path[2]))
    chosen, link = list(fixed), paths[0][9]
    while link:
        link, match = link
        chosen[match[1]] = match
    return chosen


def _step(match: Match) -> Step:
    kind, start, length, begin, taken = match
    weight = _SEARCH_WEIGHTS[kind]
    said, meant = _bits(begin, taken), _bits(start, length)
    after, distance = start + length, abs(start - begin)
    return said, meant, taken * weight, length * weight, begin, begin + taken, after, distance, match


def _grow(path: Path, row: Sequence[Step], coming: list[Path]) -> None:
    """Adds the path with each match of a row, then the path without any.

    Two quirks of the jar: a match adds its distance to the paths after it, not to its own; and the weighted
    matches are cut to whole numbers each time.
    """
    rank, chunks, distance, matches, matches_meant, at, last, used, used_meant, chain = path
    for said, meant, weight, weight_meant, begin, end, after, far, match in row:
        if used & said or used_meant & meant:
            continue
        both = int(matches + weight), int(matches_meant + weight_meant)
        coming.append((
            -both[0] - both[1], chunks + (last not in (-1, begin)), distance, *both, after, end,
            used | said, used_meant | meant, (chain, match),
        ))  # fmt: skip
        distance += far
    coming.append((
        rank, chunks + (last != -1), distance, matches, matches_meant, at + 1, -1, used, used_meant, chain,
    ))  # fmt: skip


def _taken(path: Path, step: Step) -> Path:
    """The path after a match that was fixed before the search."""
    _, chunks, distance, matches, matches_meant, _, last, used, used_meant, chain = path
    _, _, weight, weight_meant, begin, end, after, far, _ = step
    both = int(matches + weight), int(matches_meant + weight_meant)
    chunks += last not in (-1, begin)
    return -both[0] - both[1], chunks, distance + far, *both, after, end, used, used_meant, chain


def _bits(start: int, length: int) -> int:
    return ((1 << length) - 1) << start


def _chunks(chosen: Sequence[Match | None]) -> int:
    """Runs of matches that stand side by side in both captions."""
    chunks, at, last = 0, 0, -1
    while at < len(chosen):
        match = chosen[at]
        if match is None:
            chunks += last != -1
            at, last = at + 1, -1
            continue
        _, start, length, begin, taken = match
        chunks += last not in (-1, begin)
        at, last = start + length, begin + taken
    return chunks + (last != -1)


def alignment_score(statistics: Statistics) -> float:
    """METEOR of one alignment, its sums in the jar's order so that ties stay ties."""
    said, meant, said_function, meant_function = statistics[:4]
    chunks, matched, matched_meant = statistics[20:]
    if not matched or not matched_meant:
        return 0.0
    sides = []
    for side, words, function in ((0, said, said_function), (1, meant, meant_function)):
        weighted = 0.0
        for share, offset in ((DELTA, side), (1.0 - DELTA, side + 2)):
            for kind, weight in enumerate(WEIGHTS):
                weighted += statistics[4 + 4 * kind + offset] * weight * share
        sides.append(weighted / (DELTA * (words - function) + (1.0 - DELTA) * function))
    mean = 1.0 / ((1.0 - ALPHA) / sides[0] + ALPHA / sides[1])
    whole = matched == said and matched_meant == meant and chunks == 1
    fragmentation = 0.0 if whole else chunks / ((matched + matched_meant) / 2.0)
    value: float = mean * (1.0 - GAMMA * fragmentation**BETA)
    return max(value, 0.0)
