"""What rows and columns of a captioner's weights stand for, by name: no order of this program is tied to them.

config.json of a checkpoint stores the names (format 2); a loader moves rows and columns to where this program has them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captioner.config import ModelConfig
from captioner.errors import CheckpointError
from captioner.faces.points import EXPRESSION_NAMES
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.model.batch import MEASURES
from prompts.action_units import MAIN_AUS
from prompts.phrase_scores import ASPECTS

Names = dict[str, list[str]]  # of each kind, in the order of the rows

# The axes of tensors, by the end of their names, that hold one place a phrase, an action or a measured value.
_AXES: dict[str, tuple[str, ...]] = {
    "visual.reading.mean": ("measured",),
    "visual.reading.std": ("measured",),
    "visual.reading.weight": ("phrases", "measured"),
    "visual.reading.bias": ("phrases",),
    "visual.reading.deed_weight": ("actions", "measured"),
    "visual.reading.deed_bias": ("actions",),
    "visual.reading.deed_habit": ("actions",),
    "visual.reading.token.weight": ("", "phrases"),
    "visual.measured.token.weight": ("", "measures"),
}

# The order of format 1, which stored no names. Never to be changed: it is what those weights were trained with.
_FORMAT_1: dict[str, str] = {
    "action_units": (
        "1 2 4 5 6 7 9 10 11 12 13 14 15 16 17 18 19 20 22 23 24 25 26 27 32 38 39"
    ),
    "face_values": (
        "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight eyeBlinkLeft eyeBlinkRight "
        "eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft "
        "eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight jawOpen mouthClose "
        "mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLowerDownLeft "
        "mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRollLower mouthRollUpper "
        "mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight "
        "mouthUpperUpLeft mouthUpperUpRight eyeAspectLeft eyeAspectRight noseWingLeft noseWingRight "
        "browHeightLeft browHeightRight browGap mouthWidth mouthGap mouthCorner upperLip lowerLip chin yaw pitch "
        "browDown browOuterUp eyeBlink eyeSquint eyeWide eyeLookDown eyeLookIn eyeLookOut eyeLookUp mouthDimple "
        "mouthFrown mouthLowerDown mouthPress mouthSmile mouthStretch mouthUpperUp eyeAspect noseWing browHeight "
        "gazeSide gazeUp"
    ),
    "phrases": (
        "frown raised_brows raised_inner_brows wide_eyes narrowed_eyes closed_eyes wrinkled_nose raised_cheeks "
        "raised_upper_lip smile dimples lip_corners_down raised_chin puckered_lips stretched_lips pressed_lips "
        "open_mouth wide_open_mouth bitten_lip"
    ),
    "actions": (
        "still nods shakes_head turns_left turns_right tilts_head lowers_head raises_head trembles leans_in "
        "moves_away enters leaves talks shouts laughs looks_down looks_up looks_left looks_right looks_around "
        "closes_eyes blinks talks_to listens looks_at turns_to"
    ),
}
FORMAT_1: Names = {kind: names.split() for kind, names in _FORMAT_1.items()}


def own_names(config: ModelConfig) -> Names:
    """The names that a captioner of this config has places for, in this program's order."""
    names = {"action_units": [str(au) for au in MAIN_AUS]} if config.prompts.vep else {}
    if config.prompts.reading:
        names |= {"face_values": [*EXPRESSION_NAMES], "phrases": [*PHRASES], "actions": [*ACTIONS]}
    if config.prompts.measured:
        names["measures"] = [*MEASURES]
    return names


def stored_names(meta: Mapping[str, Any], config: ModelConfig, where: str) -> Names:
    """The names that a config.json tells of its captioner, those of format 1 where it is that old; checked."""
    given = FORMAT_1 if meta.get("format") == 1 else meta.get("names")
    own = own_names(config)
    if not isinstance(given, Mapping):
        raise CheckpointError(f"{where} has no 'names' of what its weights judge: take the file that came with them")
    listed = {kind: given.get(kind) for kind in own}
    odd = [kind for kind, names in listed.items() if not isinstance(names, list | None)]
    if odd:
        raise CheckpointError(f"{where}: names.{odd[0]} is no list of names: take the file that came with the weights")
    stored = {kind: [str(name) for name in names or ()] for kind, names in listed.items()}
    for kind, names in stored.items():
        _check(kind, names, own[kind], where)
    return stored


def _check(kind: str, given: Sequence[str], own: Sequence[str], where: str) -> None:
    strange, absent = sorted(set(given) - set(own)), sorted(set(own) - set(given))
    faults = [f"this version does not know {', '.join(strange)}"] if strange else []
    faults += [f"{', '.join(absent)} is missing"] if absent else []
    faults += ["a name stands there twice"] if len(set(given)) < len(given) else []
    if not faults and kind == "action_units" and given != own:  # the graph net's places are those of its publication
        faults = [f"the order is {' '.join(given)}, the nets of this version have {' '.join(own)}"]
    if faults:
        raise CheckpointError(
            f"{where}: names.{kind} is not what this version's captioner judges: {'; '.join(faults)}; "
            f"use the version of captioner that wrote it"
        )


def in_own_order(state: Mapping[str, Tensor], stored: Names, own: Names) -> dict[str, Tensor]:
    """Tensors whose rows and columns stand as `stored` says, moved to the places of `own`; optimiser moments too."""
    if stored == own:
        return dict(state)
    moves = {kind: [stored[kind].index(name) for name in names] for kind, names in own.items()}
    if "face_values" in own:
        known = len(own["action_units"])
        once = moves["action_units"] + [known + place for place in moves["face_values"]]
        moves["measured"] = [aspect * len(once) + place for aspect in range(ASPECTS) for place in once]
    return {name: _moved(value, _axes_of(name), moves) for name, value in state.items()}


def _axes_of(tensor: str) -> tuple[str, ...]:
    return next((axes for name, axes in _AXES.items() if tensor == name or tensor.endswith(f".{name}")), ())


def _moved(value: Tensor, axes: Sequence[str], moves: Mapping[str, list[int]]) -> Tensor:
    for axis, kind in enumerate(axes[: value.ndim]):
        if kind and value.shape[axis] == len(moves[kind]):  # another size is refused by who fills the network
            value = value.index_select(axis, torch.tensor(moves[kind]))
    return value
