"""Visual emotion prompts (VEP): an ER token and K action-unit tokens from frozen experts (eqs 4, 5).

Axes: B clips, T frames, N main action units, K action units kept, D width of the captioner.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prompts.au_graph import AUGraph, freeze
from prompts.er_net import ERNet
from prompts.phrase_scores import ASPECTS, MeasuredToken, PhraseProbes

# Of an action unit only the frames that show it best count, this share of those with a face: an expression is there for
# a moment.
BEST = 0.375


@dataclass
class ExpertFeatures:
    """What the frozen experts see in a clip; all that is cached of them."""

    er: Tensor  # (B, F) mean feature of the emotion net
    er_probs: Tensor  # (B, classes) its mean emotion probabilities
    au_scores: Tensor  # (B, N) mean score of each action unit in its best frames
    au_nodes: Tensor  # (B, N, D_au) its node vector, mean over these frames
    au_frames: Tensor  # (B, T, N) score in each frame
    present: Tensor  # (B,) whether any face was seen
    height: Tensor  # (B,) of the face, as a share of the picture's short side
    best_and_swing: Tensor  # (B, F * 2) of each AU score and each value of the face reader

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "ExpertFeatures":
        """The same on a device."""
        return ExpertFeatures(**{name: v.to(device, non_blocking=non_blocking) for name, v in vars(self).items()})

    def pin_memory(self) -> "ExpertFeatures":
        """The same in pinned memory."""
        return ExpertFeatures(**{name: value.pin_memory() for name, value in vars(self).items()})


class FrozenExperts(nn.Module):
    """The emotion net and the AU graph net over face crops; never trained here, always in evaluation."""

    mean: Tensor
    std: Tensor

    def __init__(self, er: ERNet, au: AUGraph, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.er, self.au = er, au
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        freeze(self.er)
        freeze(self.au)

    @torch.no_grad()
    def forward(
        self,
        crops: Tensor,
        present: Tensor | None = None,
        expression: Tensor | None = None,
        height: Tensor | None = None,
    ) -> ExpertFeatures:
        """Features of uint8 face crops (B, T, 3, S, S); `present` (B, T) says which hold a face.

        expression (B, T, E): what a face reader measured in each. height (B,): of the face, as a share of the
        picture's short side; None: taken to fill it.
        """
        b, t = crops.shape[:2]
        images = (crops.flatten(0, 1).float() / 255 - self.mean) / self.std
        if present is None:
            present = torch.ones(b, t, dtype=torch.bool, device=crops.device)
        weight = present.float() / present.sum(1, keepdim=True).clamp(min=1)  # (B, T), sums to 1
        er, au = self.er(images), self.au(images)
        scores = au.scores[:, : self.au.config.main].view(b, t, -1)  # (B, T, N)
        nodes = au.nodes.view(b, t, *au.nodes.shape[1:])  # (B, T, N, D_au)
        share = best_frames(scores, present)
        measured = scores if expression is None else torch.cat([scores, expression.to(scores)], -1)  # (B, T, F)
        return ExpertFeatures(
            er=torch.einsum("bt,btf->bf", weight, er.features.view(b, t, -1)),
            er_probs=torch.einsum("bt,btc->bc", weight, er.logits.softmax(-1).view(b, t, -1)),
            au_scores=(share * scores).sum(1),
            au_nodes=torch.einsum("btn,btnd->bnd", share, nodes),
            au_frames=scores * present[..., None],
            present=present.any(1),
            height=torch.ones(b, device=crops.device) if height is None else height,
            best_and_swing=best_and_swing(measured, present),
        )


def best_frames(scores: Tensor, present: Tensor) -> Tensor:
    """Share of each frame in an action unit's clip score, (B, T, N) like the scores; sums to 1 over frames, or to 0."""
    count = (present.sum(1) * BEST).ceil()  # (B,) frames that count; 0 without a face
    rank = scores.masked_fill(~present[..., None], -torch.inf).argsort(1, descending=True).argsort(1)
    chosen = (rank < count[:, None, None]) & present[..., None]
    return chosen.to(scores.dtype) / count.clamp(min=1)[:, None, None]


def best_and_swing(values: Tensor, present: Tensor) -> Tensor:
    """Best of values (B, T, F) over a clip's frames with a face, and how far it swings; (B, F * 2), 0 without."""
    best, least = ((best_frames(sign * values, present) * values).sum(1) for sign in (1, -1))
    return torch.cat([best, best - least], -1)


@dataclass
class VisualPromptTokens:
    """er (B, 1, D), with a reading (B, 2, D); au (B, K, D), the places of the kept AUs in the net's list and their
    standard scores (B, K)."""

    er: Tensor
    au: Tensor
    au_index: Tensor
    au_scores: Tensor


class VisualPrompts(nn.Module):
    """P_ER = MLP(ER feature), P_AU = FC(nodes of the K most conspicuous AUs), told which AUs they are and how strong.

    Without a face, learned null tokens stand in.
    """

    au_mean: Tensor
    au_std: Tensor
    au_usable: Tensor

    def __init__(
        self,
        er_width: int,
        au_width: int,
        width: int,
        *,
        main: int = 27,
        k: int = 3,
        unusable: tuple[int, ...] = (),
        reading: tuple[int, int, int] | None = None,
        measures: int = 0,
    ) -> None:
        """reading: how many values are measured, phrases and actions scored; None: no such token.

        measures: how many logits judges have given beforehand, for a token of those.
        """
        super().__init__()
        self.k = k
        self.er_mlp = nn.Sequential(
            nn.Linear(er_width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
        )
        self.au_fc = nn.Linear(au_width, width)
        self.au_name = nn.Embedding(main, width)  # which AU it is
        self.au_strength = nn.Linear(1, width, bias=False)  # how far it stands out
        self.au_norm = nn.LayerNorm(width)
        nn.init.normal_(self.au_name.weight, std=0.2)  # the size of FC's output at the start
        nn.init.normal_(self.au_strength.weight, std=0.2)
        self.null_er = nn.Parameter(torch.randn(width) * 0.02)
        self.null_au = nn.Parameter(torch.randn(k, width) * 0.02)
        if reading is not None:
            values, phrases, actions = reading
            self.reading = PhraseProbes(values * ASPECTS, phrases, width, actions)
            self.null_reading = nn.Parameter(torch.randn(width) * 0.02)
        if measures:
            self.measured = MeasuredToken(measures, width)
            self.null_reading = nn.Parameter(torch.randn(width) * 0.02)
        # Untrained nets score every AU .27-.49: raw scores rank AUs by habit, standard scores by evidence.
        self.register_buffer("au_mean", torch.zeros(main))
        self.register_buffer("au_std", torch.ones(main))
        usable = torch.ones(main, dtype=torch.bool)
        usable[list(unusable)] = False  # places of AUs the graph net never learned: their scores are noise
        self.register_buffer("au_usable", usable)

    def fit_scores(self, scores: Tensor) -> None:
        """Take mean and spread of each AU's score from training clips (N clips, AUs)."""
        self.au_mean.copy_(scores.mean(0))
        self.au_std.copy_(scores.std(0, unbiased=False).clamp(min=1e-3))

    @torch.no_grad()
    def fit_features(self, er: Tensor) -> None:
        """Let the first layer of a new MLP take ER features by how they differ between training clips (N clips, F).

        What all faces share is most of a feature, and would drown the rest: it goes into the bias, and the weights
        are of features with a spread of 1.
        """
        first: nn.Linear = self.er_mlp[0]  # type: ignore[assignment]
        mean, std = er.float().mean(0), er.float().std(0, unbiased=False)
        first.weight.div_(std.clamp(min=float(std.mean()) / 10 + 1e-6))  # what hardly ever differs stays small
        first.bias.sub_(first.weight @ mean)

    def forward(self, seen: ExpertFeatures, measured: Tensor | None = None) -> VisualPromptTokens:
        """measured (B, M): what judges said beforehand, where the captioner has a token for it."""
        standard = (seen.au_scores - self.au_mean) / self.au_std
        top, index = standard.masked_fill(~self.au_usable, -torch.inf).topk(self.k, dim=-1)  # (B, K)
        chosen = seen.au_nodes.gather(1, index[..., None].expand(-1, -1, seen.au_nodes.shape[-1]))
        face = seen.present[:, None, None]
        er = torch.where(face, self.er_mlp(seen.er)[:, None], self.null_er)
        if hasattr(self, "reading"):
            read = torch.where(face, self.reading(seen.best_and_swing), self.null_reading)
            er = torch.cat([er, read], 1)
        if hasattr(self, "measured"):
            if measured is None:
                raise ValueError("this captioner reads what was measured of a clip; the batch comes without it")
            er = torch.cat([er, torch.where(face, self.measured(measured), self.null_reading)], 1)
        named = self.au_fc(chosen) + self.au_name(index) + self.au_strength(top[..., None].clamp(-3, 5))
        au = torch.where(face, self.au_norm(named), self.null_au)
        return VisualPromptTokens(er, au, index, top)
