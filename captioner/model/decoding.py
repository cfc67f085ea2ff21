"""Writing the words: greedy, beam and sampling over the cached fusion; options in, results out.

Axes: B clips, W beams, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from captioner.config import DecodeConfig
from captioner.model.fusion import Cache, Fusion, Memory


@dataclass
class Written:
    """A caption as ids with [CLS] first and [SEP] last, and the log-probability of each id after [CLS]."""

    ids: list[int]
    log_probs: list[float]
    finished: bool = True

    @property
    def score(self) -> float:
        """exp(mean log-probability), the papers' confidence."""
        return float(torch.tensor(self.log_probs).mean().exp()) if self.log_probs else 0.0


@dataclass(frozen=True)
class Special:
    """Ids with a duty: `cls` opens the caption, `never` are further ones that must not be written."""

    cls: int
    sep: int
    mask: int
    pad: int
    never: tuple[int, ...] = ()

    @property
    def unwritten(self) -> list[int]:
        """Ids that no caption holds behind its first."""
        return [self.cls, self.mask, self.pad, *self.never]


# What speaks for each thing that a caption of a clip says, whole or just begun; below 0: what speaks against it.
Bonus = Callable[[int, list[int]], list[float]]
# What a unit against a thing costs a hypothesis, in log-probability: where the words are sure of the thing, all that a
# search finishes else say it and leave no choice.
AGAINST = 4.0


@torch.inference_mode()
def decode_captions(
    fusion: Fusion,
    memory: Memory,
    special: Special,
    options: DecodeConfig,
    bonus: Bonus | None = None,
    begun: Sequence[Sequence[int]] = (),
    chances: Tensor | None = None,
) -> list[Written]:
    """One caption a clip of the memory; `bonus` steers a beam search and its choice among the finished ones.

    begun: of each clip the ids with which a searched caption has to begin. chances: of a sample, (B, words) numbers
    from 0 to 1 that choose the words, in place of those that follow from `options.seed`.
    """
    longest = options.max_words + 1 if options.max_words else fusion.config.max_text - 1
    longest = min(longest, fusion.config.max_text - 1)  # ids after [CLS], [SEP] among them
    if options.beams > 1:
        return beam_search(fusion, memory, special, options, longest, bonus, begun)
    return greedy(fusion, memory, special, options, longest, chances)


def next_log_probs(
    fusion: Fusion, last: Tensor, special: Special, cache: Cache, histories: list[list[int]], no_repeat: int
) -> Tensor:
    """(rows, V) log-probabilities of the next id: specials other than [SEP] and repeated n-grams are out."""
    logits = fusion.step(last, special.mask, cache).float()
    logits[:, special.unwritten] = -torch.inf
    if no_repeat:
        for row, ids in enumerate(histories):
            logits[row, repeats(ids, no_repeat)] = -torch.inf
    return logits.log_softmax(-1)


def repeats(ids: list[int], n: int) -> list[int]:
    """Ids that would complete an n-gram which `ids` already hold."""
    if len(ids) < n:
        return []
    start = tuple(ids[len(ids) - n + 1 :])
    return [ids[i + n - 1] for i in range(len(ids) - n + 1) if tuple(ids[i : i + n - 1]) == start]


def greedy(
    fusion: Fusion,
    memory: Memory,
    special: Special,
    options: DecodeConfig,
    longest: int,
    chances: Tensor | None = None,
) -> list[Written]:
    """The likeliest word each time, or a drawn one when sampling."""
    batch = memory.states.shape[0]
    cache = fusion.start(memory, longest)
    if chances is None:
        chances = torch.rand(batch, longest, generator=torch.Generator().manual_seed(options.seed))
    chances = chances.to(memory.states.device)
    written = [Written([special.cls], [], finished=False) for _ in range(batch)]
    last = torch.full((batch,), special.cls, device=memory.states.device)
    for place in range(longest):
        histories = [w.ids for w in written]
        log_probs = next_log_probs(fusion, last, special, cache, histories, options.no_repeat)
        if place == longest - 1:
            last = torch.full_like(last, special.sep)  # no room left: the caption ends here
        else:
            last = draw_token(log_probs, options, chances[:, place]) if options.sample else log_probs.argmax(-1)
        picked = log_probs.gather(1, last[:, None])[:, 0].tolist()
        for row, (token, value) in enumerate(zip(last.tolist(), picked, strict=True)):
            if not written[row].finished:
                written[row].ids.append(token)
                written[row].log_probs.append(value)
                written[row].finished = token == special.sep
        if all(w.finished for w in written):
            break
    return written


def draw_token(log_probs: Tensor, options: DecodeConfig, chances: Tensor) -> Tensor:
    """One id a row, by its chance (B,), from the smallest set of words that holds `top_p` of the probability."""
    probs = (log_probs / options.temperature).softmax(-1)
    ordered, places = probs.sort(-1, descending=True)
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= options.top_p, 0.0)
    reached = ordered.cumsum(-1)
    choice = torch.searchsorted(reached, chances[:, None] * reached[:, -1:], right=True)
    most = (ordered > 0).sum(-1, keepdim=True) - 1  # rounding may lead past the last word
    return places.gather(1, choice.minimum(most))[:, 0]


@dataclass
class Beams:
    """The open hypotheses of one clip and the finished ones, best first."""

    ids: list[list[int]]
    log_probs: list[list[float]]
    penalty: list[float] = field(default_factory=list)  # of each open one, beside its probability; none: 0
    done: list[tuple[float, Written]] = field(default_factory=list)

    def finish(self, ids: list[int], log_probs: list[float], options: DecodeConfig) -> None:
        """Keep a finished hypothesis, ranked by log-probability over length ** length_penalty."""
        rank = sum(log_probs) / len(log_probs) ** options.length_penalty
        self.done.append((rank, Written(ids, log_probs)))
        self.done.sort(key=lambda pair: -pair[0])
        del self.done[options.beams :]

    def settled(self, options: DecodeConfig, longest: int) -> bool:
        """No open hypothesis can still enter the finished ones."""
        if len(self.done) < options.beams or not self.ids:
            return not self.ids
        length = longest if options.length_penalty > 0 else len(self.log_probs[0])
        hope = max(sum(values) for values in self.log_probs) / max(length, 1) ** options.length_penalty
        return bool(self.done[-1][0] >= hope)


def beam_search(
    fusion: Fusion,
    memory: Memory,
    special: Special,
    options: DecodeConfig,
    longest: int,
    bonus: Bonus | None = None,
    begun: Sequence[Sequence[int]] = (),
) -> list[Written]:
    """The best finished hypothesis of `options.beams` open ones a clip; every clip is searched on its own."""
    width, batch = options.beams, memory.states.shape[0]
    cache = fusion.start(memory.repeat(width), longest)
    clips = [Beams([[special.cls]], [[]]) for _ in range(batch)]
    last = torch.full((batch * width,), special.cls, device=memory.states.device)
    for place in range(longest):
        histories = [row for clip in clips for row in padded(clip.ids, width, special)]
        log_probs = next_log_probs(fusion, last, special, cache, histories, options.no_repeat)
        rows, words = [], []
        for number, clip in enumerate(clips):
            own = log_probs[number * width : number * width + len(clip.ids)]
            if begun and place < len(begun[number]):
                own = only(own, begun[number][place])
            chosen = advance(clip, own, special, options, ends=place == longest - 1)
            chosen += [(0, special.sep)] * (width - len(chosen))
            rows += [number * width + row for row, _ in chosen]
            words += [word for _, word in chosen]
            if clip.settled(options, longest):
                clip.ids, clip.log_probs = [], []
            if bonus is not None:
                clip.penalty = [AGAINST * sum(min(value, 0.0) for value in bonus(number, ids)) for ids in clip.ids]
        if not any(clip.ids for clip in clips):
            break
        cache.select(torch.tensor(rows, device=last.device))
        last = torch.tensor(words, device=last.device)
    if bonus is None:
        return [clip.done[0][1] for clip in clips]
    return [
        max(clip.done, key=lambda pair: pair[0] + options.evidence * sum(bonus(number, pair[1].ids)))[1]
        for number, clip in enumerate(clips)
    ]


def only(log_probs: Tensor, word: int) -> Tensor:
    """Log-probabilities (rows, V) in which no other word can be chosen."""
    kept = torch.full_like(log_probs, -torch.inf)
    kept[:, word] = log_probs[:, word].clamp(min=-30.0)  # an n-gram said before is no reason not to go on
    return kept


def padded(ids: list[list[int]], width: int, special: Special) -> list[list[int]]:
    """Histories of exactly `width` rows; idle rows hold [CLS]."""
    return ids + [[special.cls]] * (width - len(ids))


def advance(
    clip: Beams, log_probs: Tensor, special: Special, options: DecodeConfig, ends: bool
) -> list[tuple[int, int]]:
    """Grow a clip's hypotheses by one word in place; returns (row it came from, word) of the open ones."""
    if not clip.ids:
        return []
    if ends:
        for row, (open_ids, scores) in enumerate(zip(clip.ids, clip.log_probs, strict=True)):
            clip.finish([*open_ids, special.sep], [*scores, float(log_probs[row, special.sep])], options)
        clip.ids, clip.log_probs = [], []
        return []
    totals = torch.tensor([sum(values) for values in clip.log_probs], dtype=torch.float64)
    if clip.penalty:
        totals += torch.tensor(clip.penalty, dtype=torch.float64)
    ranked = (totals[:, None] + log_probs.double().cpu()).flatten()
    best = ranked.topk(min(2 * options.beams, int(torch.isfinite(ranked).sum()))).indices.tolist()
    ids: list[list[int]] = []
    values: list[list[float]] = []
    chosen: list[tuple[int, int]] = []
    for place, flat in enumerate(best):
        row, word = divmod(flat, log_probs.shape[1])
        grown, scored = [*clip.ids[row], word], [*clip.log_probs[row], float(log_probs[row, word])]
        if word == special.sep:
            if place < options.beams:
                clip.finish(grown, scored, options)
        elif len(ids) < options.beams:
            ids.append(grown)
            values.append(scored)
            chosen.append((row, word))
    clip.ids, clip.log_probs = ids, values
    return chosen
