"""How probable it is that a person nods, turns, enters, ...: a small net over the numbers of faces/movement.py.

It knows the order of time, so that left is not right and coming is not going. Axes: B persons, F numbers, A actions.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from captioner.errors import CheckpointError
from captioner.faces.movement import MOTION_NAMES
from captioner.files import SHIPPED, atomic, read_object, write_text
from captioner.lexicon.actions import ACTIONS
from captioner.model.weights import fill, read_weights

FORMAT, KIND = 1, "actions"
HIDDEN = 96
WIDEST = 6.0  # standard deviations: what lies further out counts as this


class ActionJudge(nn.Module):
    """Logits (B, A) of the actions in `names`, from numbers (B, F) in the order of `MOTION_NAMES`."""

    mean: Tensor
    std: Tensor

    def __init__(self, names: tuple[str, ...] = tuple(ACTIONS), hidden: int = HIDDEN, dropout: float = 0.0) -> None:
        super().__init__()
        self.names = names
        self.register_buffer("mean", torch.zeros(len(MOTION_NAMES)))
        self.register_buffer("std", torch.ones(len(MOTION_NAMES)))
        self.hidden = nn.Linear(len(MOTION_NAMES), hidden)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, len(names))

    def standard(self, numbers: Tensor) -> Tensor:
        """Numbers in standard scores of the persons that the net was fitted on."""
        return ((numbers - self.mean) / self.std).clamp(-WIDEST, WIDEST)

    def judge(self, standard: Tensor) -> Tensor:
        """Logits of numbers that are standard scores already."""
        logits: Tensor = self.out(self.drop(nn.functional.gelu(self.hidden(standard))))
        return logits

    def forward(self, numbers: Tensor) -> Tensor:
        return self.judge(self.standard(numbers))


def save_action_judge(judge: ActionJudge, folder: Path, card: str) -> None:
    """A folder with config.json, model.safetensors and CARD.md."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous() for name, value in judge.state_dict().items()}
    with atomic(folder / "model.safetensors") as temporary:
        temporary.write_bytes(save(state))
    plain = {
        "format": FORMAT, "kind": KIND, "actions": [*judge.names], "numbers": [*MOTION_NAMES],
        "hidden": judge.hidden.out_features,
    }  # fmt: skip
    write_text(folder / "config.json", json.dumps(plain, indent=1) + "\n")
    write_text(folder / "CARD.md", card)


def load_action_judge(folder: str | Path = SHIPPED / "actions") -> ActionJudge:
    """The judge of a folder, by default the shipped one; columns are laid by name, none may be unknown or lack."""
    place = Path(folder)
    try:
        config = read_object(place / "config.json")
        names, numbers, hidden = tuple(config["actions"]), list(config["numbers"]), int(config["hidden"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{place / 'config.json'} is damaged or of another kind ({error})") from None
    if sorted(numbers) != sorted(MOTION_NAMES) or config.get("kind") != KIND:
        raise CheckpointError(f"{place} judges other numbers than this version measures: train it anew")
    unknown = sorted(set(names) - set(ACTIONS))
    if unknown:
        raise CheckpointError(f"{place} judges actions that no caption can name: {', '.join(unknown)}")
    judge = ActionJudge(names, hidden)
    state = read_weights(place / "model.safetensors")
    order = [numbers.index(name) for name in MOTION_NAMES]
    for key in ("mean", "std"):
        state[key] = state[key][order]
    state["hidden.weight"] = state["hidden.weight"][:, order]
    fill(judge, state, str(place))
    return judge.eval()
