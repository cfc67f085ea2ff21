"""How probable it is that annotators would say a facial phrase of somebody: a small net over what a face shows.

Fitted on synthetic clips and on real faces (train/experts/phrase_recipe.py). Axes: N people, P phrases, S numbers of
faces/shown.py.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from captioner.errors import CheckpointError
from captioner.faces.shown import shown_names
from captioner.files import SHIPPED, atomic, missing, write_text
from captioner.lexicon.phrases import PHRASES
from captioner.model.weights import fill, read_weights

FORMAT, KIND = 1, "phrases"
HIDDEN, DROPOUT = 96, 0.3
WIDEST = 5.0  # standard deviations: what lies further out counts as this
# A face less high than this share of the picture's short side is told less of, by so much of a logit for each e-fold.
LEGIBLE, FADING = 0.2, 1.5


class PhraseJudge(nn.Module):
    """Logits (N, P) of the phrases in `names`, from numbers (N, S) of the values in `values` in each aspect.

    habits (P,): what is added to say each phrase as often as MAFW's annotators do, who call half of all faces a frown.
    """

    mean: Tensor
    std: Tensor
    habits: Tensor

    def __init__(self, values: Sequence[str], names: Sequence[str] = tuple(PHRASES)) -> None:
        super().__init__()
        self.names, self.values = tuple(names), tuple(values)
        count = len(shown_names(self.values))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.register_buffer("habits", torch.zeros(len(self.names)))
        self.straight = nn.Linear(count, len(self.names))
        self.hidden = nn.Linear(count, HIDDEN)
        self.bent = nn.Linear(HIDDEN, len(self.names), bias=False)
        nn.init.zeros_(self.straight.weight)
        nn.init.constant_(self.straight.bias, -2.0)  # most phrases hold of few faces
        nn.init.zeros_(self.bent.weight)

    def standard(self, shown: Tensor) -> Tensor:
        """Numbers in standard scores of the faces that the judges were fitted on."""
        return ((shown - self.mean) / self.std).clamp(-WIDEST, WIDEST)

    def judge(self, standard: Tensor) -> Tensor:
        """Logits of numbers that are standard scores already."""
        inside = F.dropout(F.gelu(self.hidden(standard)), DROPOUT, self.training)
        logits: Tensor = self.straight(standard) + self.bent(inside)
        return logits

    def forward(self, shown: Tensor, height: Tensor | None = None) -> Tensor:
        """Logits; height (N,) of the faces, as shares of the picture's short side."""
        logits = self.judge(self.standard(shown))
        if height is None:
            return logits
        return logits + FADING * (height.clamp(min=1e-3) / LEGIBLE).log().clamp(max=0)[:, None]


def expected_best(probabilities: Sequence[float], most: int = 4) -> int:
    """Of phrases in falling order of probability, how many to name so that the expected F1 is largest.

    Phrases are taken to be independent; how many of the rest are true is a Poisson-binomial number.
    """
    best, count = 0.0, 0
    nothing = math.prod(1 - p for p in probabilities)  # nothing true and nothing said is right
    best = nothing
    for named in range(1, min(most, len(probabilities)) + 1):
        value = _expected_f1(probabilities, named)
        if value > best + 1e-9:
            best, count = value, named
    return count


def _expected_f1(probabilities: Sequence[float], named: int) -> float:
    """E[2 hits / (named + true)] where the first `named` are said."""
    hits, others = _counts(probabilities[:named]), _counts(probabilities[named:])
    return sum(
        chance * rest * 2 * hit / (named + hit + missed)
        for hit, chance in enumerate(hits)
        for missed, rest in enumerate(others)
    )


def _counts(probabilities: Sequence[float]) -> list[float]:
    """Chances that 0, 1, ... of independent events happen."""
    chances = [1.0]
    for p in probabilities:
        chances = [
            (chances[k] * (1 - p) if k < len(chances) else 0.0) + (chances[k - 1] * p if k else 0.0)
            for k in range(len(chances) + 1)
        ]
    return chances


def save_phrase_judge(judge: PhraseJudge, folder: Path, card: str) -> None:
    """A folder with config.json, model.safetensors and CARD.md."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in judge.state_dict().items()}
    with atomic(folder / "model.safetensors") as temporary:
        temporary.write_bytes(save(state))
    plain = {"format": FORMAT, "kind": KIND, "phrases": [*judge.names], "values": [*judge.values]}
    write_text(folder / "config.json", json.dumps(plain, indent=1) + "\n")
    write_text(folder / "CARD.md", card)


def load_phrase_judge(folder: str | Path = SHIPPED / "phrases") -> PhraseJudge:
    """The judge of a folder, by default the shipped one; phrases that no caption can name are an error."""
    place = Path(folder)
    try:
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        kind, names, values = config["kind"], list(map(str, config["phrases"])), list(map(str, config["values"]))
    except FileNotFoundError:
        raise CheckpointError(f"{missing(place / 'config.json')}; a judge of phrases needs one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{place / 'config.json'} is damaged or of another kind ({error})") from None
    unknown = sorted(set(names) - set(PHRASES))
    if kind != KIND or unknown:
        raise CheckpointError(f"{place} judges {', '.join(unknown) or kind}, which no caption can name: train it anew")
    judge = PhraseJudge(values, names)
    fill(judge, read_weights(place / "model.safetensors"), str(place))
    return judge.eval()


def values_in_order(judge: PhraseJudge, given: Sequence[str]) -> list[int]:
    """Where each number that a judge wants stands among those of a reading whose values are `given`."""
    absent = sorted(set(judge.values) - set(given))
    if absent:
        raise CheckpointError(f"the face reading lacks {', '.join(absent)}, which the judge of phrases looks at")
    own = shown_names(given)
    place = {name: number for number, name in enumerate(own)}
    return [place[name] for name in shown_names(judge.values)]
