"""Emotion-oriented cross-modal alignment (ECA): AU-word (eqs 9-12) and ER-sentence (eq 8), with Table VI's variants.

Axes: B clips, K action units, J text pieces, D width, C emotions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

ENUMERATED = 4  # action units up to which a GPU matches by itself


@dataclass
class Matching:
    """word (B, K): matched text place of each AU, -1 where words ran out; similarity (B, K): its cosine."""

    word: Tensor
    similarity: Tensor

    @property
    def made(self) -> Tensor:
        """(B, K) bool: which AUs have a word."""
        return self.word >= 0


def cosine(au: Tensor, words: Tensor) -> Tensor:
    """Eq 9: (B, K, D), (B, J, D) -> (B, K, J)."""
    return F.normalize(au, dim=-1) @ F.normalize(words, dim=-1).transpose(1, 2)


def match(similarity: Tensor, valid: Tensor) -> Matching:
    """Eq 10: the one-to-one assignment of AUs to valid words with the largest summed cosine.

    The assignment carries no gradient; the similarity it picks does.
    """
    b, k, _ = similarity.shape
    if similarity.device.type != "cpu" and k <= ENUMERATED:
        return match_by_enumeration(similarity, valid)
    chosen = torch.full((b, k), -1, dtype=torch.long)
    scores, usable = similarity.detach().float().cpu().numpy(), valid.cpu().numpy()
    for row in range(b):
        places = usable[row].nonzero()[0]
        aus, columns = linear_sum_assignment(scores[row][:, places], maximize=True)
        chosen[row, aus] = torch.from_numpy(places[columns])
    chosen = chosen.to(similarity.device)
    picked = similarity.gather(2, chosen.clamp(min=0)[..., None])[..., 0]
    return Matching(chosen, picked)


def match_by_enumeration(similarity: Tensor, valid: Tensor) -> Matching:
    """`match` without leaving the device, for few action units: of each only its K best words can be in the best
    assignment, so that K^K combinations hold it. Where words are fewer than units, weaker units go without.
    """
    b, k, _ = similarity.shape
    scores = similarity.detach().float().masked_fill(~valid[:, None], -torch.inf)
    room = torch.full((b, k, k), -torch.inf, device=scores.device)  # a unit may also go without a word
    # Going without costs more than any word, so that as many units as possible have one.
    best = torch.cat([scores, room], 2).topk(k, dim=2)
    values, places = best.values, best.indices.masked_fill(best.values == -torch.inf, -1)
    values = torch.cat([values, values.new_full((b, k, 1), -10.0)], 2)  # (B, K, K + 1)
    places = torch.cat([places, places.new_full((b, k, 1), -1)], 2)
    choices = torch.cartesian_prod(*[torch.arange(k + 1, device=scores.device)] * k).view(-1, k)  # (C, K)
    rows = torch.arange(k, device=scores.device)
    taken = places[:, rows, choices]  # (B, C, K)
    worth = values[:, rows, choices].sum(-1)
    same = (taken[..., :, None] == taken[..., None, :]) & (taken[..., None] >= 0)
    clash = same.tril(-1).any(-1).any(-1)
    chosen = taken.gather(1, worth.masked_fill(clash, -torch.inf).argmax(1)[:, None, None].expand(-1, 1, k))[:, 0]
    picked = similarity.gather(2, chosen.clamp(min=0)[..., None])[..., 0]
    return Matching(chosen, picked)


def au_word_loss(
    similarity: Tensor,
    valid: Tensor,
    matching: Matching,
    *,
    threshold: float,
    margin: float,
    warm: bool | Tensor = False,
    keep_best: bool = False,
    others: float = 0.0,
    two_sided: bool = False,
) -> tuple[Tensor, Tensor]:
    """Eqs 11, 12, D a cosine: matched pairs above the threshold rise to the margin, the rest falls to 0.

    Positive too: every matched pair while `warm`, since random vectors never reach the threshold, and the best
    pair of each clip with `keep_best`. Pairs that were not matched are pushed down with weight `others`, or all
    vectors could meet in one point. `two_sided`: as eq 12 is printed, dissimilar pairs rise to 0. Returns the loss and
    the number of positives.
    """
    d, made = matching.similarity, matching.made
    positive = (d.detach() > threshold) | warm
    if keep_best:
        best = d.detach().masked_fill(~made, -2.0)
        positive = positive | (best == best.amax(1, keepdim=True))
    pull = (margin - d).clamp(min=0) ** 2
    low = -1.0 if two_sided else 0.0  # one-sided: what is dissimilar already is left alone
    push = d.clamp(min=low) ** 2
    matched = (torch.where(positive, pull, push) * made).sum() / made.sum().clamp(min=1)
    taken = F.one_hot(matching.word.clamp(min=0), similarity.shape[2]).bool() & made[..., None]
    rest = valid[:, None] & ~taken  # (B, K, J)
    apart = (similarity.clamp(min=low) ** 2 * rest).sum() / rest.sum().clamp(min=1)
    return matched + others * apart, (positive & made).sum()


def own_words_loss(
    au: Tensor, au_index: Tensor, counts: Tensor, words: Tensor, valid: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """An AU should find its word in its own caption rather than in captions of clips that do not show it.

    Eq 12 alone is content to give every AU the words that all captions share ("woman", "hair"), and its hard
    assignment never leaves them. Here all words of the caption bid softly: -log(own / (own + foreign)), each the
    sum of exp(cosine / temperature). `counts` (B, K) says which AUs take part. Returns the loss and how many did.
    """
    a, w = F.normalize(au, dim=-1), F.normalize(words, dim=-1)
    bids = torch.einsum("bkd,cjd->bkcj", a, w) / temperature
    bids = bids.masked_fill(~valid[None, None], -1e4).logsumexp(-1)  # (B, K, B): AU k of clip b, caption c
    shown = (au_index[:, :, None, None] == au_index[None, None]).any(-1)  # clip c shows AU k of clip b
    foreign = ~shown & valid.any(1)
    own = bids.diagonal(dim1=0, dim2=2).t()  # (B, K)
    against = bids.masked_fill(~foreign, -1e4).logsumexp(-1)
    counts = counts & valid.any(1, keepdim=True) & foreign.any(-1)
    return ((torch.logaddexp(own, against) - own) * counts).sum() / counts.sum().clamp(min=1), counts.sum()


def au_word_cross_entropy(
    similarity: Tensor, valid: Tensor, matching: Matching, temperature: float
) -> Tensor:
    """Table VI "CE": each AU chooses its matched word among the caption's words."""
    logits = (similarity / temperature).masked_fill(~valid[:, None], -torch.inf)
    made = matching.made & valid.any(1, keepdim=True)
    if not made.any():
        return similarity.sum() * 0
    return F.cross_entropy(logits[made], matching.word[made])


def au_word_contrastive(au: Tensor, words: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """Table VI "contrastive": clips and captions of a batch recognise each other by their best AU-word cosines."""
    a, w = F.normalize(au, dim=-1), F.normalize(words, dim=-1)
    pairs = torch.einsum("bkd,cjd->bckj", a, w).masked_fill(~valid[None, :, None], -1.0)
    scores = pairs.amax(-1).mean(-1) / temperature  # (B, B): clip b against caption c
    target = torch.arange(len(au), device=au.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)) / 2


class ERSentence(nn.Module):
    """Eq 8: the emotion named by [ER ; sentence] together; used in training only."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(2 * width, classes)

    def forward(self, er: Tensor, sentence: Tensor) -> Tensor:
        """(B, D), (B, D) -> logits (B, C)."""
        logits: Tensor = self.head(torch.cat([er, sentence], -1))
        return logits


def similarity_loss(er: Tensor, sentence: Tensor) -> Tensor:
    """Table VI "global similarity": 1 - cos of each clip with its own sentence."""
    return (1 - F.cosine_similarity(er, sentence, dim=-1)).mean()


def similarity_cross_entropy(er: Tensor, sentence: Tensor, temperature: float) -> Tensor:
    """Table VI "similarity-based CE": each clip finds its sentence in the batch, and back."""
    scores = F.normalize(er, dim=-1) @ F.normalize(sentence, dim=-1).t() / temperature
    target = torch.arange(len(er), device=er.device)
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.t(), target)) / 2
