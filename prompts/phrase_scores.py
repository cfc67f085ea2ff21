"""The reading: how surely a clip shows each facial phrase, judged by all that the frozen parts measured of its face.

Axes: B clips, T frames, F measured values, P phrases, D deeds. Judges are linear, fitted once on the training clips and
kept: what the transformer gets is one token that says in P numbers what it would else have to learn from few clips.
Deeds, as nodding, are judged for the search of a caption alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of a value's course: its best frames, and how far its least ones lie below, which tells a face's habit from its acts.
# On 672 made clips of unseen persons the phrases' F1 is .755 with both, .744 with best, mean and least.
ASPECTS = 2
RIDGE = 25.0  # weight of the squared weights against the summed loss; 15 does alike, 5 and 100 worse
DEED_RIDGE = 50.0  # the same for deeds, of which no other was tried
ONWARD = 400.0  # where judges go on, of the way from the earlier ones; on 310 new clips 150 and less do worse
NOISE = 0.7  # of the judgements in training: on persons it was fitted on, a judge is surer than on others
# Share of the clips that are judged in training as if nothing moved; judges are fitted on both: people also smile from
# first to last. On 546 made clips of unseen persons F1 is .797 so, .789 fitted on moving ones alone; as stills .786.
STILL = 0.25
LIMIT = 4.0


def stilled(courses: Tensor) -> Tensor:
    """Courses (B, F * ASPECTS) of clips that show their best frames all the time."""
    best, swing = courses.chunk(ASPECTS, 1)
    return torch.cat([best, torch.zeros_like(swing)], 1)


def habits(labels: Tensor) -> Tensor:
    """Logits of how often labels (N, L) are 1."""
    rate = (labels.double().mean(0) + 1e-4).clamp(max=0.99)
    return (rate / (1 - rate)).log()


@torch.enable_grad()
def regress(inputs: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, ridge: float) -> None:
    """Fit judges, weight (L, I) and bias (L,), in place to labels (N, L) of inputs (N, I); earlier ones go on."""
    before, begin = weight.double(), bias.double()
    if before.any():
        ridge = ONWARD
    else:
        begin = habits(labels)
    inputs, labels = inputs.double(), labels.double()
    slope, height = before.clone().requires_grad_(), begin.requires_grad_()
    search = torch.optim.LBFGS([slope, height], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        total = F.binary_cross_entropy_with_logits(F.linear(inputs, slope, height), labels, reduction="sum")
        total = (total + ridge * (slope - before).square().sum()) / len(inputs)
        total.backward()
        return total

    search.step(loss)
    weight.copy_(slope.detach())
    bias.copy_(height.detach())


class Reading(nn.Module):
    """Judgements (B, P) as logits, and the token that carries them."""

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    deed_weight: Tensor
    deed_bias: Tensor
    deed_habit: Tensor

    def __init__(self, inputs: int, phrases: int, width: int, deeds: int = 0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))
        self.register_buffer("weight", torch.zeros(phrases, inputs))
        self.register_buffer("bias", torch.zeros(phrases))
        self.register_buffer("deed_weight", torch.zeros(deeds, inputs))
        self.register_buffer("deed_bias", torch.zeros(deeds))
        self.register_buffer("deed_habit", torch.zeros(deeds))  # logit of how often each is done
        self.token = nn.Linear(phrases, width)
        self.norm = nn.LayerNorm(width)

    def fit(self, courses: Tensor, shown: Tensor, done: Tensor | None = None) -> None:
        """Logistic regression of phrases (N, P), 0 or 1, on courses (N, F * ASPECTS) of N clips, moving and still.

        And of deeds (N, D), where they are known, on the moving ones. Judges that were fitted before, on other clips,
        go on: the ridge then draws towards them instead of to 0.
        """
        if not self.weight.any():
            self.mean.copy_(courses.mean(0))
            self.std.copy_(courses.std(0, unbiased=False).clamp(min=1e-4))
        both = torch.cat([courses, stilled(courses)])
        regress(self.standard(both), shown.repeat(2, 1), self.weight, self.bias, RIDGE)
        if done is not None:
            regress(self.standard(courses), done, self.deed_weight, self.deed_bias, DEED_RIDGE)
            self.deed_habit.copy_(habits(done))

    def standard(self, courses: Tensor) -> Tensor:
        """Courses in standard scores of the clips that judges were first fitted on."""
        return (courses - self.mean) / self.std

    def judge(self, courses: Tensor) -> Tensor:
        """Logits (B, P) of the phrases."""
        return F.linear(self.standard(courses), self.weight, self.bias)

    def lift(self, courses: Tensor) -> Tensor:
        """Log of how many times likelier each deed (B, D) is in these clips than in any; 0 where none was fitted."""
        logits = F.linear(self.standard(courses), self.deed_weight, self.deed_bias)
        return F.logsigmoid(logits) - F.logsigmoid(self.deed_habit)

    def forward(self, courses: Tensor) -> Tensor:
        if self.training:
            still = torch.rand(len(courses), 1, device=courses.device) < STILL
            courses = torch.where(still, stilled(courses), courses)
        logits = self.judge(courses)
        if self.training:
            logits = logits + NOISE * torch.randn_like(logits)
        token: Tensor = self.norm(self.token(logits.clamp(-LIMIT, LIMIT)))
        return token[:, None]  # (B, 1, D)
