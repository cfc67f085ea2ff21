"""What a run of the clip maker came to, in numbers: clips, rejected attempts, what the captions say how often."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from captioner.lexicon.phrases import find_phrases
from captioner.synth.cast import DrawnCast, PhotoCast
from captioner.synth.maker import ATTEMPTS, MakerResult
from captioner.synth.maker_options import MakerOptions
from captioner.synth.story.grammar import write_captions
from captioner.synth.story.tale import StorySettings, sample_story


def describe_result(result: MakerResult) -> str:
    """What was made, how fast, what was rejected, how the captions are spread."""
    speed = f", {result.made / result.seconds:.2f} clips a second" if result.made and result.seconds else ""
    lines = [f"{result.made + result.kept} clips: {result.made} made{speed}, {result.kept} kept from before"]
    if result.checked:
        share = result.attempts_failed / max(result.made + result.attempts_failed, 1)
        causes = ", ".join(f"{name} {count}" for name, count in result.rejected.most_common()) or "none"
        lines.append(f"check: {result.attempts_failed} attempts rejected ({share:.0%}): {causes}")
    else:
        lines.append("check: none")
    if result.given_up:
        lines.append(f"given up after {ATTEMPTS} attempts: {result.given_up} clips; the manifest lacks them")
    if result.faults:
        lines.append(f"photos skipped: {len(result.faults)}")
    return "\n".join([*lines, format_statistics(caption_statistics(result.captions))])


def unplayed_captions(options: MakerOptions, count: int) -> list[str]:
    """Captions of `count` more stories like those of the clips, one a story, which nobody plays."""
    from captioner.synth.actors import DrawnActor  # brings torch, which `--help` does not need
    from captioner.synth.identity import sample_face

    drawn, captions = options.faces is None, []
    cast = DrawnCast if drawn else PhotoCast
    settings = StorySettings(
        seconds=options.seconds, fps=options.fps, people=options.people, aspect=options.width / options.height,
        aus=cast.aus, one_sided=cast.one_sided, framing=options.framing, oblique=options.oblique,
    )  # fmt: skip
    for number in range(count):
        rng = np.random.default_rng([options.seed, number])
        story = sample_story(rng, settings)
        looks = [DrawnActor(sample_face(rng)).looks if drawn else {"gender": "person"} for _ in story.roles]
        captions += write_captions(story, looks, rng, n=1, style=options.style)
    return captions


def caption_statistics(captions: Sequence[str]) -> dict[str, Any]:
    """Length in words, vocabulary, phrases a caption, the share of captions with each phrase, distinct captions."""
    tokens = [re.findall(r"[\w'-]+", caption.lower()) for caption in captions]
    words = np.array([len(caption) for caption in tokens] or [0])
    phrases = [{phrase.name for phrase in find_phrases(caption)} for caption in captions]
    counts = Counter(name for names in phrases for name in names)
    total = max(1, len(captions))
    return {
        "captions": len(captions),
        "words": {
            "mean": round(float(words.mean()), 2),
            "p5": float(np.percentile(words, 5)),
            "p95": float(np.percentile(words, 95)),
        },
        "vocabulary": len({word for caption in tokens for word in caption}),
        "phrases_per_caption": round(sum(map(len, phrases)) / total, 2),
        "phrases": {name: round(count / total, 4) for name, count in counts.most_common()},
        "distinct": round(len(set(captions)) / total, 4),
    }


def format_statistics(counts: Mapping[str, Any]) -> str:
    """What `caption_statistics` counted, as lines to print."""
    words = counts["words"]
    lines = [
        f"captions {counts['captions']}, distinct {counts['distinct']:.1%}, vocabulary {counts['vocabulary']} words",
        f"words a caption: mean {words['mean']:.1f}, 5 % have up to {words['p5']:.0f}, 95 % up to {words['p95']:.0f}",
        f"facial phrases a caption: {counts['phrases_per_caption']:.2f}",
    ]
    width = max(map(len, counts["phrases"]), default=0)
    lines += [f"  {name:<{width}} {share:6.1%}" for name, share in counts["phrases"].items()]
    return "\n".join(lines)
