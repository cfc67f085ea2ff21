"""SCST: captions are drawn, scored against the references, and made likelier the better they are than the others drawn.

The baseline of a drawn caption is the mean reward of the other captions drawn for the same clip. Axes: B clips,
S captions drawn of each, N words, V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captioner.config import DecodeConfig
from captioner.data.manifest import Record
from captioner.model.batch import Batch
from captioner.model.captioner import EmotionCaptioner
from captioner.model.decoding import Special, Written, decode_captions
from captioner.model.fusion import Memory
from captioner.model.tokenizer import Tokenizer

Reward = Callable[[Sequence[str], Sequence[str]], Sequence[float]]  # clip ids, a caption of each -> its worth
RewardMaker = Callable[[Mapping[str, Sequence[str]]], Reward]  # from the training clips' references


@dataclass(frozen=True)
class DrawnCaptions:
    """Captions drawn for clips, those of a clip in a row: ids (B * S, N + 1), [CLS] first, and which are written."""

    ids: Tensor
    written: Tensor  # (B * S, N) bool
    rewards: Tensor  # (B, S)


class SelfCritic:
    """The loss of a batch by the rewards of captions drawn from the model as it is."""

    def __init__(self, tokenizer: Tokenizer, records: Sequence[Record], maker: RewardMaker, samples: int) -> None:
        self.tokenizer, self.samples = tokenizer, samples
        self.reward = maker({record.id: record.captions for record in records})
        self.special = Special(tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id)

    def loss(self, model: EmotionCaptioner, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
        """The loss and the mean reward; layers that drop things out do not, or the draws would be of another model."""
        was_training = model.training
        model.eval()
        encoded = model.see(batch)
        memory = encoded.memory.repeat(self.samples)
        drawn = self.draw(model, without_graph(memory), batch.ids, seed)
        logits = model.fusion.next_words(drawn.ids[:, :-1], self.special.mask, memory)
        model.train(was_training)
        return policy_loss(logits, drawn), drawn.rewards.mean()

    @torch.no_grad()
    def draw(self, model: EmotionCaptioner, memory: Memory, ids: Sequence[str], seed: int) -> DrawnCaptions:
        """Captions drawn word by word, and their rewards."""
        options = DecodeConfig(sample=True, beams=1, no_repeat=0, seed=seed)
        written = decode_captions(model.fusion, memory, self.special, options)
        owners = [key for key in ids for _ in range(self.samples)]
        rewards = self.reward(owners, [self.tokenizer.decode(each.ids) for each in written])
        device = next(model.parameters()).device
        rows, told = _padded_captions(written, self.special.pad)
        values = torch.tensor(list(rewards), dtype=torch.float32, device=device).view(len(ids), self.samples)
        return DrawnCaptions(rows.to(device), told.to(device), values)


def without_graph(memory: Memory) -> Memory:
    """The same memory, for drawing."""
    keys, values = ([each.detach() for each in part] for part in (memory.keys, memory.values))
    return replace(memory, keys=keys, values=values, states=memory.states.detach())


def policy_loss(logits: Tensor, drawn: DrawnCaptions) -> Tensor:
    """Minus the log-probability of each drawn word, weighted by how much better its caption is than its rivals."""
    samples = drawn.rewards.shape[1]
    others = (drawn.rewards.sum(1, keepdim=True) - drawn.rewards) / max(1, samples - 1)
    advantage = (drawn.rewards - others).flatten()  # (B * S,)
    chosen = logits.float().log_softmax(-1).gather(2, drawn.ids[:, 1:, None])[..., 0]
    weighted = chosen * advantage[:, None] * drawn.written
    return -weighted.sum() / drawn.written.sum().clamp(min=1)


def _padded_captions(written: Sequence[Written], pad: int) -> tuple[Tensor, Tensor]:
    longest = max(len(each.ids) for each in written)
    rows = torch.tensor([[*each.ids, *[pad] * (longest - len(each.ids))] for each in written])
    lengths = torch.tensor([len(each.ids) - 1 for each in written])
    return rows, torch.arange(longest - 1)[None] < lengths[:, None]
