"""The reading: how surely a clip shows each facial phrase, judged by all that the frozen parts measured of its face.

Axes: B clips, F measured values, P phrases, A actions. The probes are linear, fitted once on the training clips and
kept: what the transformer gets is one token that says in P numbers what it would else have to learn from few clips.
Actions, as nodding, are scored for the search of a caption alone. (State dicts call them deeds.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of a value through a clip: its best frames, and how far its least ones lie below, which tells habits from acts.
ASPECTS = 2
RIDGE = 25.0  # weight of the squared weights against the summed loss
ACTION_RIDGE = 50.0  # the same for actions
ONWARD = 400.0  # where probes go on, of the way from the earlier ones
NOISE = 0.7  # of the logits in training: on persons it was fitted on, a probe is surer than on others
# Share of the clips that are scored in training as if nothing moved; probes are fitted on both: people also smile from
# first to last.
STILL = 0.25
LIMIT = 4.0


def stilled(measured: Tensor) -> Tensor:
    """Measured values (B, F * ASPECTS) of clips as if they showed their best frames all the time."""
    best, swing = measured.chunk(ASPECTS, 1)
    return torch.cat([best, torch.zeros_like(swing)], 1)


def base_logits(labels: Tensor) -> Tensor:
    """Logits (L,) of how often labels (N, L) are 1."""
    rate = (labels.double().mean(0) + 1e-4).clamp(max=0.99)
    return (rate / (1 - rate)).log()


@torch.enable_grad()
def fit_probes(inputs: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, ridge: float) -> None:
    """Fit probes, weight (L, I) and bias (L,), in place to labels (N, L) of inputs (N, I); earlier ones go on."""
    before, begin = weight.double(), bias.double()
    if before.any():
        ridge = ONWARD
    else:
        begin = base_logits(labels)
    inputs, labels = inputs.double(), labels.double()
    slope, height = before.clone().requires_grad_(), begin.requires_grad_()
    search = torch.optim.LBFGS([slope, height], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        total = F.binary_cross_entropy_with_logits(F.linear(inputs, slope, height), labels, reduction="sum")
        total = (total + ridge * (slope - before).square().sum()) / len(inputs)
        torch.autograd.backward(total)
        return total

    search.step(loss)
    weight.copy_(slope.detach())
    bias.copy_(height.detach())


class MeasuredToken(nn.Module):
    """The token of a reading that was judged beforehand: logits (B, M) of all that captions may claim of a person."""

    def __init__(self, measures: int, width: int) -> None:
        super().__init__()
        self.token = nn.Linear(measures, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, logits: Tensor) -> Tensor:
        """The token (B, 1, D); in training a little noise: a judge is surer of clips that it was fitted on."""
        if self.training:
            logits = logits + NOISE * torch.randn_like(logits)
        token: Tensor = self.norm(self.token(logits.clamp(-LIMIT, LIMIT)))
        return token[:, None]


class PhraseProbes(nn.Module):
    """Logits (B, P) of the phrases, and the token that carries them."""

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    deed_weight: Tensor
    deed_bias: Tensor
    deed_habit: Tensor

    def __init__(self, inputs: int, phrases: int, width: int, actions: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.register_buffer("weight", torch.zeros(phrases, inputs))
        self.register_buffer("bias", torch.zeros(phrases))
        self.register_buffer("deed_weight", torch.zeros(actions, inputs))
        self.register_buffer("deed_bias", torch.zeros(actions))
        self.register_buffer("deed_habit", torch.zeros(actions))  # logit of how often each is done
        self.token = nn.Linear(phrases, width)
        self.norm = nn.LayerNorm(width)

    def fit(self, measured: Tensor, shown: Tensor, done: Tensor | None = None) -> None:
        """Logistic regression of phrases (N, P), 0 or 1, on values (N, F * ASPECTS) of N clips, moving and still.

        And of actions (N, A), where they are known, on the moving ones. Probes that were fitted before, on other
        clips, go on: the ridge then draws towards them instead of to 0.
        """
        if not self.weight.any():
            self.mean.copy_(measured.mean(0))
            self.std.copy_(measured.std(0, unbiased=False).clamp(min=1e-4))
        both = torch.cat([measured, stilled(measured)])
        fit_probes(self.standard(both), shown.repeat(2, 1), self.weight, self.bias, RIDGE)
        if done is not None:
            fit_probes(self.standard(measured), done, self.deed_weight, self.deed_bias, ACTION_RIDGE)
            self.deed_habit.copy_(base_logits(done))

    def standard(self, measured: Tensor) -> Tensor:
        """Values in standard scores of the clips that the probes were first fitted on."""
        return (measured - self.mean) / self.std

    def logits(self, measured: Tensor) -> Tensor:
        """Logits (B, P) of the phrases."""
        return F.linear(self.standard(measured), self.weight, self.bias)

    def action_lift(self, measured: Tensor) -> Tensor:
        """Log of how many times likelier each action (B, A) is in these clips than in any; 0 where none was fitted."""
        logits = F.linear(self.standard(measured), self.deed_weight, self.deed_bias)
        return F.logsigmoid(logits) - F.logsigmoid(self.deed_habit)

    def forward(self, measured: Tensor) -> Tensor:
        """The token (B, 1, D)."""
        if self.training:
            still = torch.rand(len(measured), 1, device=measured.device) < STILL
            measured = torch.where(still, stilled(measured), measured)
        logits = self.logits(measured)
        if self.training:
            logits = logits + NOISE * torch.randn_like(logits)
        token: Tensor = self.norm(self.token(logits.clamp(-LIMIT, LIMIT)))
        return token[:, None]
