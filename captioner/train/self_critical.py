"""SCST: captions are drawn, scored against the references, and made likelier the better they are than the others drawn.

The baseline of a drawn caption is the mean reward of the other captions drawn for the same clip. Axes: B clips,
S captions drawn of each, N words, V vocabulary.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from captioner.config import DecodeConfig, TrainConfig
from captioner.data.manifest import Record
from captioner.model.batch import Batch
from captioner.model.captioner import CaptionLosses, EmotionCaptioner
from captioner.model.decoding import Special, Written, decode_captions
from captioner.model.fusion import Memory
from captioner.model.tokenizer import Tokenizer
from captioner.train.processes import Processes

Reward = Callable[[Sequence[str], Sequence[str]], Sequence[float]]  # clip ids, a caption of each -> its worth
RewardMaker = Callable[[Mapping[str, Sequence[str]]], Reward]  # from the training clips' references


@dataclass(frozen=True)
class DrawnCaptions:
    """Captions drawn for clips, those of a clip in a row: ids (B * S, N + 1), [CLS] first, and which were drawn."""

    ids: Tensor
    written: Tensor  # (B * S, N) bool
    rewards: Tensor  # (B, S)


class SelfCritic:
    """The loss of a batch by the rewards of captions drawn from the model as it is."""

    def __init__(
        self, tokenizer: Tokenizer, special: Special, records: Sequence[Record], maker: RewardMaker, train: TrainConfig
    ) -> None:
        self.tokenizer, self.special = tokenizer, special
        self.samples, self.temperature = train.reward_samples, train.reward_temperature
        self.reward = maker({record.id: record.captions for record in records})

    def losses(
        self, model: EmotionCaptioner, batch: Batch, processes: Processes, clips: int | None = None
    ) -> CaptionLosses:
        """Loss and mean reward of a micro-batch that processes share; in any number of them the same captions are
        drawn, values are those of the whole, and gradients, averaged, too. `clips`: those of all processes.
        """
        seed: int = processes.all_gather_json(int(torch.randint(1 << 31, ())))[0]
        drawn, total = self.drawn_loss(model, batch, seed)
        stand_in = clips is not None and not processes.share(clips)
        table = processes.table([0 if stand_in else int(drawn.written.sum()), 0 if stand_in else len(batch.ids)])
        words, seen = table.sum(0).clamp(min=1).tolist()
        own = total * processes.size / words if table[processes.rank, 0] else 0.0 * total
        reward = drawn.rewards.mean() * table[processes.rank, 1].item() * processes.size / seen
        live = {"scst": own - own.detach() + processes.mean(own.detach())}
        return CaptionLosses(live, torch.zeros(2, device=own.device), {"reward": processes.mean(reward)})

    def drawn_loss(self, model: EmotionCaptioner, batch: Batch, seed: int) -> tuple[DrawnCaptions, Tensor]:
        """What is drawn and its summed loss; layers that drop things out do not, or another model would draw."""
        was_training = model.training
        model.eval()
        encoded = model.see(batch)
        memory = encoded.memory.repeat(self.samples)
        drawn = self.draw(model, without_graph(memory), batch.ids, seed)
        logits = model.fusion.next_words(drawn.ids[:, :-1], self.special.mask, memory)
        logits[..., self.special.unwritten] = -torch.inf
        model.train(was_training)
        return drawn, policy_loss(logits / self.temperature, drawn)

    @torch.no_grad()
    def draw(self, model: EmotionCaptioner, memory: Memory, ids: Sequence[str], seed: int) -> DrawnCaptions:
        """Captions drawn word by word, and their rewards."""
        options = DecodeConfig(sample=True, beams=1, no_repeat=0, temperature=self.temperature)
        room = model.config.fusion.max_text
        chances = torch.cat([_chances(key, seed, self.samples, room) for key in ids])
        written = decode_captions(model.fusion, memory, self.special, options, chances=chances)
        owners = [key for key in ids for _ in range(self.samples)]
        rewards = self.reward(owners, [self.tokenizer.decode(each.ids) for each in written])
        device = next(model.parameters()).device
        rows, told = _padded_captions(written, self.special.pad, room)
        values = torch.tensor(list(rewards), dtype=torch.float32, device=device).view(len(ids), self.samples)
        return DrawnCaptions(rows.to(device), told.to(device), values)


def _chances(key: str, seed: int, samples: int, room: int) -> Tensor:
    """(samples, room) numbers of a clip, whoever stands beside it in the batch."""
    digest = hashlib.sha256(f"{seed} {key}".encode()).digest()
    return torch.rand(samples, room, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big")))


def without_graph(memory: Memory) -> Memory:
    """The same memory, for drawing."""
    keys, values = ([each.detach() for each in part] for part in (memory.keys, memory.values))
    return replace(memory, keys=keys, values=values, states=memory.states.detach())


def policy_loss(logits: Tensor, drawn: DrawnCaptions) -> Tensor:
    """The sum of minus the log-probability of each drawn word, times how much better its caption is than its rivals."""
    samples = drawn.rewards.shape[1]
    others = (drawn.rewards.sum(1, keepdim=True) - drawn.rewards) / max(1, samples - 1)
    advantage = (drawn.rewards - others).flatten()  # (B * S,)
    chosen = logits.float().log_softmax(-1).gather(2, drawn.ids[:, 1:, None])[..., 0]
    weighted = torch.where(drawn.written, chosen, 0.0) * advantage[:, None]
    return -weighted.sum()


def _padded_captions(written: Sequence[Written], pad: int, room: int) -> tuple[Tensor, Tensor]:
    """Ids and which of them were drawn: the end of a caption that fills the room was not."""
    longest = max(len(each.ids) for each in written)
    rows = torch.tensor([[*each.ids, *[pad] * (longest - len(each.ids))] for each in written])
    lengths = torch.tensor([len(each.ids) - 1 - (len(each.ids) == room) for each in written])
    return rows, torch.arange(longest - 1)[None] < lengths[:, None]
