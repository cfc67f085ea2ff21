"""The card of the judges of facial phrases."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner.model.phrase_judge import PhraseJudge
from captioner.train.figures import can_draw, new_figure, save_figure

log = logging.getLogger(__name__)

DRAWN = ("frown", "smile", "open_mouth", "raised_brows", "wide_eyes")
PICTURE = "reliability.png"


def phrase_card(
    judge: PhraseJudge, counts: Mapping[str, int], scores: Mapping[str, float], table: Sequence[str]
) -> str:
    """Markdown: what the judges are, what taught them, how good they are."""
    real = [
        f"| {name} | {scores[f'{name} AUC']:.3f} | {scores[f'{name} ECE']:.3f} |"
        for name in judge.names
        if f"{name} AUC" in scores
    ]
    habits = [f"{name} {float(shift):+.2f}" for name, shift in zip(judge.names, judge.habits, strict=True) if shift]
    return "\n".join([
        "# phrases", "",
        "How probable it is that annotators would say of a face that it frowns, smiles, has wide eyes, ...: a net",
        f"of one hidden layer over {len(judge.mean)} numbers of a person followed through a clip: each action unit,",
        "value of the face reader and emotion at its best, in the mean and at its least.", "",
        f"- Made by `python scripts/train.py configs/phrases.yaml` from {counts['clips']} synthetic clips whose "
        f"phrases are known, {counts['voted']} faces of FER+ (their votes, by a table of what shows in which emotion, "
        f"and a landmarker's word on mouths) and {counts['portraits']} portraits (a landmarker's word).",
        "- Apache-2.0, code and weights.",
        f"- {scores['clips']:.0f} synthetic clips of persons who taught nothing, named from .5 on: F1 "
        f"{scores['F1']:.3f}, precision {scores['precision']:.3f}, recall {scores['recall']:.3f}.",
        f"- `habits: mafw` adds to the logits, so that phrases are named as often as by MAFW's annotators: "
        f"{', '.join(habits)}.", "",
        f"{scores['stills']:.0f} clear faces of FER+'s validation part (real photos), against the emotions that show "
        "the phrase; ECE against the chance that the table gives them, and a landmarker's word on mouths:", "",
        f"![How often it holds what the judges say so surely]({PICTURE})", "",
        "| phrase | AUC | ECE |", "|---|---|---|", *real, "",
        "| phrase | synthetic clips with it | precision | recall |", "|---|---|---|---|", *table, "",
    ])  # fmt: skip


def draw_reliability(folder: Path, curves: Mapping[str, Sequence[tuple[float, float, int]]]) -> None:
    """A picture beside the card: mean chance said and mean truth of each bin, as large as its number of faces."""
    if not can_draw():
        log.warning("%s is not drawn: pip install 'captioner[eval]'", PICTURE)
        return
    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = new_figure(4.2, 4.2)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name in (name for name in DRAWN if curves[name]):
        said, held, count = zip(*curves[name], strict=True)
        axes.plot(said, held, linewidth=1.2, label=name.replace("_", " "))
        axes.scatter(said, held, s=[4 + 2 * each**0.5 for each in count])
    axes.set(xlabel="said to be so probable", ylabel="share of the faces", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8)
    save_figure(figure, folder / PICTURE)
