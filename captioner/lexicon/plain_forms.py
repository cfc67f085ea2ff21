"""What a face shows, as something its person does: "raised eyebrows" as "raises her eyebrows"."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlainForm:
    """A facial phrase in a sentence; {their} stands for whose face it is.

    A verb in the third person, or, with `clause`, a sentence of its own whose verb is plural.
    """

    usual: str
    strong: str = ""
    one_sided: str = ""
    clause: bool = False


PLAIN_FORMS: dict[str, PlainForm] = {
    "frown": PlainForm("frowns", "frowns deeply"),
    "raised_brows": PlainForm("raises {their} eyebrows", "raises {their} eyebrows high", "raises one eyebrow"),
    "raised_inner_brows": PlainForm("raises the inner ends of {their} eyebrows"),
    "wide_eyes": PlainForm("widens {their} eyes", "opens {their} eyes very wide"),
    "narrowed_eyes": PlainForm("narrows {their} eyes"),
    "closed_eyes": PlainForm("has {their} eyes closed"),
    "wrinkled_nose": PlainForm("wrinkles {their} nose"),
    "raised_cheeks": PlainForm("{their} cheeks lift", clause=True),
    "raised_upper_lip": PlainForm("raises {their} upper lip"),
    "smile": PlainForm("smiles", "smiles broadly", "smiles on one side of {their} mouth"),
    "dimples": PlainForm("shows dimples", "", "shows a dimple"),
    "lip_corners_down": PlainForm("the corners of {their} mouth turn down", clause=True),
    "raised_chin": PlainForm("pushes up {their} chin"),
    "puckered_lips": PlainForm("puckers {their} lips"),
    "stretched_lips": PlainForm("stretches {their} lips sideways"),
    "pressed_lips": PlainForm("presses {their} lips together", "presses {their} lips tightly together"),
    "open_mouth": PlainForm("opens {their} mouth"),
    "wide_open_mouth": PlainForm("opens {their} mouth wide"),
    "bitten_lip": PlainForm("bites {their} lip"),
}
# Eyes that stay closed say how something is done.
EYES_CLOSED_TAIL = "with {their} eyes closed"
