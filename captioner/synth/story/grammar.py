"""What annotators would write about a story: only what is true of it, in many wordings.

    faces     = event {" " event} [" " face]      "Someone nods slowly. The frown and the wrinkled nose."
    event     = [setting ", "] subject " " deeds [", " setting] "."
    deeds     = deed [" and " deed | " while " doing]
    face      = "The " phrase {", " phrase} [" and " phrase] "."
    feelings  = "a sad man shakes his head and looks down in front of the camera"

Style "faces" is that of MAFW and never uses a word for an emotion; "feelings" is that of EmVidCap: one short
sentence in lower case with one of its emotion words. Wordings are in `words.py`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captioner.errors import ConfigError, unknown
from captioner.lexicon.actions import ACTIONS, SOCIAL
from captioner.lexicon.circumstances import ADVERBS, FACIAL_VERBS, FEELINGS, PLACES, SETTINGS, TAILS
from captioner.lexicon.phrases import PHRASES
from captioner.synth.story.camera import DIM
from captioner.synth.story.tale import Story
from captioner.synth.story.words import ONE_SIDED, PHRASINGS, SLIGHT, STRONG

STYLES: tuple[str, ...] = ("faces", "feelings")
WEAK, MARKED = 0.72, 0.88  # peaks up to and from which a phrase may be called slight, or deep and the like
FAR, NEAR = 0.16, 0.66  # face heights (shares of the picture) that count as far away and as a close-up
FAVOURITE = 0.6  # of the time the first of several wordings is used
ZOOMED = 1.12  # the least zoom that is seen as one
# How often a caption leaves out the first, second, third and fourth phrase, by salience. Of several captions of a clip
# only the last does: else a true phrase would count as wrong, and who learns from them would hold back what it sees.
LEFT_OUT = (0.0, 0.15, 0.4, 0.75)
# What lasts long enough for something else to be done meanwhile.
_LASTING = frozenset(
    ("talks", "talks_to", "listens", "trembles", "laughs", "shouts", "looks_down", "looks_up", "looks_left",
     "looks_right", "looks_at")
)  # fmt: skip
_FACIAL = frozenset(("closes_eyes", "laughs"))
_PRONOUNS = {"woman": ("her", "her", "she"), "man": ("his", "him", "he"), "person": ("their", "them", "they")}

Looks = Mapping[str, str]


def write_captions(
    story: Story, looks: Sequence[Looks], rng: np.random.Generator, n: int = 3, style: str = "faces"
) -> list[str]:
    """`n` captions that are true of the story; `looks[i]` says what is known of person i (gender, hair, ...)."""
    if style not in STYLES:
        raise ConfigError(unknown("style", style, STYLES))
    writer = _Writer(story, looks, rng)
    return [writer.faces(whole=i < n - 1) if style == "faces" else writer.feelings() for i in range(n)]


@dataclass(frozen=True)
class _Deed:
    """Something done, as a verb and as a participle; `lasting` if other things can be done meanwhile."""

    verb: str
    doing: str
    lasting: bool


class _Writer:
    """The sentences about one story."""

    def __init__(self, story: Story, looks: Sequence[Looks], rng: np.random.Generator) -> None:
        self.story, self.rng = story, rng
        self.looks = [*looks, *({"gender": "person"},) * (len(story.roles) - len(looks))]
        self.role = story.roles[0]
        their, them, they = _PRONOUNS[self._gender(0)]
        self.words = {"their": their, "them": them, "they": they}
        if len(story.roles) > 1:
            self.words["where"] = self._prefer(PLACES[story.arrangement]).format(**self.words)

    def faces(self, whole: bool = False) -> str:
        """A caption in MAFW's style; a `whole` one names all salient phrases."""
        listed = self._listed(whole)
        verb, listed = self._facial_verb(listed)
        sentences = [self._event(verb), *self._others(), self._face_sentence(listed)]
        return " ".join(sentence for sentence in sentences if sentence)

    def feelings(self) -> str:
        """A caption in EmVidCap's style."""
        words = [FEELINGS[emotion] for emotion in self.story.mixture]
        feeling = words[int(self.rng.integers(len(words)))]
        adjective, adverb = self._any(feeling.adjectives), self._any(feeling.adverbs)
        noun, deeds = self._plain_noun(), self._deeds(self._done(self.role.actions, manners=False)[:2])
        kind = int(self.rng.integers(6 if feeling.nouns else 5))
        if kind == 0:
            text = f"{_a(adjective)} {noun} {deeds}"
        elif kind == 1:
            text = f"{_a(noun)} {deeds} {adverb}"
        elif kind == 2:
            text = f"{_a(noun)} is {adjective} and {deeds}"
        elif kind == 3:
            text = f"{_a(adjective)} {noun} {deeds} {adverb}"
        elif kind == 4:
            text = f"{_a(noun)} {self._any(('looks', 'seems', 'feels', 'appears'))} {adjective} and {deeds}"
        else:
            text = f"{_a(noun)} {deeds} with {self._any(feeling.nouns)} on {self.words['their']} face"
        if len(text.split()) < 8:
            text += f" {self._any(TAILS)}"
        return re.sub(r"[^a-z ]", "", text.lower())

    # Choosing

    def _any(self, options: Sequence[str]) -> str:
        return options[int(self.rng.integers(len(options)))]

    def _prefer(self, options: Sequence[str]) -> str:
        """Mostly the first of several wordings."""
        return options[0] if len(options) == 1 or self.rng.random() < FAVOURITE else self._any(options[1:])

    def _chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    # People

    def _gender(self, index: int) -> str:
        gender = self.looks[index].get("gender", "person")
        return gender if gender in _PRONOUNS else "person"

    def _plain_noun(self) -> str:
        options = {"woman": ("woman", "lady"), "man": ("man", "guy"), "person": ("person", "character")}
        return self._prefer(options[self._gender(0)])

    def _subject(self) -> str:
        """The main person, with at most one attribute that shows."""
        gender, traits = self._gender(0), self._traits(0)
        if traits and self._chance(0.55):
            return f"a {self._any(traits).format(gender=gender)}"
        if gender == "person":
            return self._prefer(("a person", "someone", "somebody", "the person"))
        return self._prefer((f"a {gender}", f"the {gender}"))

    def _traits(self, index: int) -> list[str]:
        looks = self.looks[index]
        if "hair" not in looks:
            return []
        traits = ["bald {gender}" if looks["hair"] == "bald" else f"{{gender}} with {looks.get('hair_name')} hair"]
        if "shirt" in looks:
            traits += [f"{{gender}} in a {looks['shirt']} shirt", f"{{gender}} wearing a {looks['shirt']} shirt"]
        if looks.get("beard", "none") != "none":
            traits.append(f"{{gender}} with a {looks['beard']}")
        traits += [f"{{gender}} with {thing}" for thing in ("glasses", "earrings") if looks.get(thing) == "yes"]
        return traits

    def _other(self) -> str:
        """The second person as an object."""
        gender = self._gender(1)
        alike = gender == self._gender(0)
        if self.story.arrangement == "reverse":
            return self._any(("another person", "somebody else", f"another {gender}" if alike else f"a {gender}"))
        return f"{'the other' if alike and self._chance(0.3) else 'the'} {gender} {self.words['where']}"

    # What is done

    def _done(self, actions: Iterable[str], manners: bool = True) -> list[_Deed]:
        """The deeds in their order: entering comes first, leaving last."""
        ordered = sorted(actions, key=lambda action: (action == "leaves") - (action == "enters"))
        return [self._deed(action, self.role.manners.get(action, "") if manners else "") for action in ordered]

    def _deed(self, action: str, manner: str) -> _Deed:
        options = ACTIONS[action]
        if action == "still" and "closed_eyes" in self.role.phrases:
            options = tuple(pair for pair in options if "still" in pair[0])
        verb, doing = options[0] if self._chance(0.4) else options[int(self.rng.integers(len(options)))]
        words = {**self.words, "other": self._other() if len(self.story.roles) > 1 else "somebody"}
        verb, doing = verb.format(**words), doing.format(**words)
        if manner and self._chance(0.55):
            adverb = self._prefer(ADVERBS[manner])
            front = " " not in adverb and not verb.startswith("is ") and self._chance(0.4)
            verb = f"{adverb} {verb}" if front else f"{verb} {adverb}"
            doing = f"{doing} {adverb}"
        return _Deed(verb, doing, action in _LASTING)

    def _deeds(self, deeds: list[_Deed]) -> str:
        last, passing = deeds[-1], {"enters", "leaves"} & set(self.role.actions)
        if len(deeds) == 1:
            return last.verb
        if last.lasting and not passing and self._chance(0.4):
            return f"{_list([deed.verb for deed in deeds[:-1]])} while {last.doing}"
        if len(deeds) == 2 and passing and self._chance(0.6):
            return f"{deeds[0].verb} and then {last.verb}"
        return _list([deed.verb for deed in deeds])

    def _event(self, facial: str) -> str:
        """The sentence about the main person; `facial` is a verb of the face that joins the others."""
        actions = self.role.actions
        deeds = self._done(actions)
        if facial:
            deeds = [_Deed(facial, "", False), *(deeds if actions != ("still",) else [])]
        subject, last = self._subject(), deeds[-1]
        if len(deeds) > 1 and last.lasting and not {"enters", "leaves"} & set(actions) and self._chance(0.15):
            meanwhile = f"while {last.doing}" if self._chance(0.4) else last.doing
            text = f"{meanwhile}, {subject} {self._deeds(deeds[:-1])}"
        else:
            text = f"{subject} {self._deeds(deeds)}"
        settings = self._settings()
        if settings and self._chance(0.3):
            setting = self._any(settings)
            first = self._chance(0.4) or text.endswith(" in")  # not "leans in in the dark"
            text = f"{setting}, {text}" if first else f"{text} {setting}"
        return _sentence(text)

    def _settings(self) -> list[str]:
        """Words for light and distance, where they are out of the ordinary."""
        heights = [place[2] for place in self.role.places if place is not None]
        settings: list[str] = []
        if self.story.grade.exposure < DIM:
            settings += SETTINGS["dark"]
        if max(heights) <= FAR:
            settings += SETTINGS["far"]
        elif min(heights) >= NEAR:
            settings += SETTINGS["near"]
        return settings

    def _others(self) -> list[str]:
        """Sentences about the second person and the camera, now and then."""
        sentences = []
        share = 0.1 if SOCIAL & set(self.role.actions) else 0.5  # who was named already needs no sentence
        if len(self.story.roles) > 1 and self._chance(share):
            sentences.append(self._second())
        shots = self.story.camera
        zoom = shots[-1].zoom / shots[0].zoom
        if not ZOOMED > zoom > 1 / ZOOMED and self._chance(0.3):
            options = SETTINGS["zooms in"] if zoom > 1 else SETTINGS["zooms out"]
            sentences.append(_sentence(self._any(options)))
        return sentences

    def _second(self) -> str:
        """What the second person does, or only that there is one."""
        role, gender = self.story.roles[1], self._gender(1)
        article = "another" if gender == self._gender(0) else "a"
        if role.actions[0] in ("enters", "leaves"):
            verb = self._prefer(("enters", "comes in")) if role.actions[0] == "enters" else "leaves"
            return _sentence(f"{article} {gender} {verb}")
        there = self.words["where"]
        who = f"{article} {gender}"
        action = role.actions[int(self.rng.integers(len(role.actions)))]
        if self.story.arrangement != "reverse":
            # What the face of the second person does would be taken for the first one's.
            if action in _FACIAL or self._chance(0.3):
                return _sentence(f"{who} is {there}")
            who = f"{'the other' if article == 'another' else 'the'} {gender} {there}"
        elif action in _FACIAL:
            return _sentence(f"{who} is shown")
        their, them, they = _PRONOUNS[gender]
        other = "somebody" if self.story.arrangement == "reverse" else self.words["them"]
        verb = self._prefer([verb for verb, _ in ACTIONS[action]])
        return _sentence(f"{who} {verb.format(their=their, them=them, they=they, other=other)}")

    # The face

    def _listed(self, whole: bool = False) -> list[str]:
        """The phrases that are named: most of the salient ones, the most salient first; none of a face far away."""
        listed: list[str] = []
        if max((place[2] for place in self.role.places if place), default=0.0) <= FAR:
            return listed
        for rank, name in enumerate(self.role.phrases):
            share = LEFT_OUT[min(rank, len(LEFT_OUT) - 1)]
            if name == "closed_eyes" and "closes_eyes" in self.role.actions:
                share = 0.5
            if not self._chance(share * (0.4 if name in ("frown", "open_mouth") else 1.0)) or whole:
                listed.append(name)
        if self._chance(0.25):
            listed = [listed[index] for index in self.rng.permutation(len(listed))]
        return listed

    def _facial_verb(self, listed: list[str]) -> tuple[str, list[str]]:
        """A verb such as "smiles" for one of the phrases, which the list then mostly leaves out."""
        able = [name for name in listed if name in FACIAL_VERBS]
        if not able or {"laughs", "enters", "leaves"} & set(self.role.actions) or not self._chance(0.12):
            return "", listed
        rest = [name for name in listed if name != able[0] or self._chance(0.3)]
        return self._any(FACIAL_VERBS[able[0]]), rest

    def _face_sentence(self, listed: list[str]) -> str:
        if not listed:
            return ""
        wordings = [self._wording(name) for name in listed]
        kind = self.rng.random()
        if kind < 0.68:
            return _sentence(_list([f"the {wording}" for wording in wordings]))
        if kind < 0.9:
            return _sentence(f"the {_list(wordings)}")
        return _sentence(_list(wordings))

    def _wording(self, name: str) -> str:
        aus = PHRASES[name].aus or (43,)
        peak = max(self.role.peaks.get(au, 0.0) for au in aus)
        sides = self.role.states[0].sides.get(aus[0], (1.0, 1.0))
        if name in ONE_SIDED and min(sides) < 0.35 and self._chance(0.7):
            return self._any(ONE_SIDED[name])
        slight = peak <= WEAK or (name == "open_mouth" and 26 not in self.role.peaks)
        if name in SLIGHT and slight and self._chance(0.6):
            return self._any(SLIGHT[name])
        if name in STRONG and peak >= MARKED and self._chance(0.45):
            return self._any(STRONG[name])
        return self._prefer(PHRASINGS[name])


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _list(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
