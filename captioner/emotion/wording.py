"""Category-aggregated prompts: every category is named, the one that is meant by "with", the others by "without"."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PromptConfig:
    """Wording of the category-aggregated prompt (Table 7)."""

    with_word: str = "with"
    without_word: str = "without"
    separator: str = "; "
    reverse: bool = False
    """Name the categories in reversed order."""
    template: str = "this picture evokes a feeling like {}"
    """Of the `emotional` classifier."""


def aggregated(labels: Sequence[str], present: int | None, prompt: PromptConfig) -> str:
    """The prompt of category `present`, or the neutral prompt, in which every category is absent."""
    tags = [
        f"{prompt.with_word if place == present else prompt.without_word} {readable(label)}"
        for place, label in enumerate(labels)
    ]
    return prompt.separator.join(reversed(tags) if prompt.reverse else tags)


def all_aggregated(labels: Sequence[str], prompt: PromptConfig) -> list[str]:
    """The neutral prompt, then one for each category."""
    return [aggregated(labels, place, prompt) for place in (None, *range(len(labels)))]


def templated(labels: Sequence[str], prompt: PromptConfig) -> list[str]:
    """Each category's name in the template."""
    return [prompt.template.format(readable(label)) for label in labels]


def readable(label: str) -> str:
    """A label as words: "doubt_confusion" is "doubt confusion"."""
    return " ".join(label.replace("_", " ").replace("/", " ").split()).lower()
