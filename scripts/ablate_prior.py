"""A captioner with the emotion prior against the same without it, on made (synthetic) clips:

    python scripts/ablate_prior.py --clips data/clips/manifest.jsonl [--seeds 3] [key=value ...]

Trains configs/ablate_prior.yaml without a prior and with the belief partly from PE-CLIP (--weights), once a seed, on
captions in EmVidCap's manner, and prints of the test clips: accuracy of the belief, accuracy of emotion words (Acc_sw)
and of captions (Acc_c), CIDEr, BLEU-4, mean and spread (standard deviation over seeds), with each row's difference to
the first one seed by seed, and how often PE-CLIP alone is right. Finished runs are kept: started again it goes on.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ablate import train_and_score

from captioner.data.inputs import read_belief
from captioner.data.manifest import Record, read_manifest
from captioner.emotion.prior import EmotionPrior
from captioner.errors import CaptionerError, ManifestError
from captioner.files import write_text

COLUMNS = ("emotion accuracy", "Acc_sw", "Acc_c", "CIDEr", "BLEU-4")
ALONE = "PE-CLIP alone"


def rows(prior: str, weights: Sequence[float]) -> dict[str, list[str]]:
    """The overrides of each row."""
    given = ["model.emotion_prior=pe_clip", f"model.emotion_prior_source={prior}"]
    mixed = {f"prior, weight {w:g}": [*given, f"model.emotion_prior_weight={w}"] for w in weights}
    return {"without the prior": []} | mixed


def write_manner(clips: Path, out: Path, manner: str, most: int) -> None:
    """The manifest with captions of another manner, which the clips hold in `extra`; `most` training clips at most."""
    lines, kept = [], 0
    for line in clips.read_text(encoding="utf-8").splitlines():
        about = json.loads(line)
        told = about.get("extra", {}).get(manner, [])
        if not told:
            raise ManifestError(f"{clips}: clip {about.get('id')} has no captions in the manner {manner!r}")
        kept += about["split"] == "train"
        if about["split"] == "val" or (about["split"] == "train" and kept > most):
            continue
        video = (clips.parent / about["video"]).resolve()
        chosen = {key: about[key] for key in ("id", "split", "emotion")}
        lines.append(json.dumps({**chosen, "video": str(video), "captions": told}))
    write_text(out, "\n".join(lines) + "\n")


def run(row: list[str], seed: int, place: int, options: argparse.Namespace) -> dict[str, float]:
    """Train and score one row with one seed, unless that has been done."""
    out = options.out / f"row-{place}-seed-{seed}"
    result = out / "test.json"
    if result.exists():
        return json.loads(result.read_text(encoding="utf-8"))
    manifest = f"data.manifest={options.out / 'manifest.jsonl'}"
    words = [manifest, *row, *options.settings, f"train.seed={seed}", f"train.out={out}"]
    _, _, scores = train_and_score(options.config, words, out)
    kept = {name: scores[name] for name in COLUMNS if name in scores}
    write_text(result, json.dumps(kept, indent=1) + "\n")
    return kept


def alone(prior: str, records: list[Record]) -> float:
    """Share of the clips whose emotion is PE-CLIP's likeliest."""
    reader = EmotionPrior(prior)
    beliefs = [read_belief(record.video, reader) for record in records]
    said = [belief.labels[int(belief.probs[0].argmax())] for belief in beliefs]
    return sum(a == r.emotion for a, r in zip(said, records, strict=True)) / len(records)


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: mean ± spread of each score x 100, and the mean ± spread of the differences to the first row."""
    first = next(iter(results.values()))
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, runs in results.items():
        cells = []
        for column in COLUMNS:
            values = [100 * found.get(column, 0.0) for found in runs]
            apart = [value - 100 * base.get(column, 0.0) for value, base in zip(values, first, strict=True)]
            told = f"{statistics.mean(values):.1f} ± {spread(values):.1f}"
            cells.append(told if runs is first else f"{told} ({statistics.mean(apart):+.1f} ± {spread(apart):.1f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> float:
    """Standard deviation; 0 of one value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="manifest of scripts/make_clips.py")
    parser.add_argument("--prior", default="pe-clip", help="trained folder or shipped name (default: pe-clip)")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.5], help="of the prior (default: 0.5)")
    parser.add_argument("--manner", default="feelings", help="captions in `extra` to learn (default: feelings)")
    parser.add_argument("--most", type=int, default=100_000, help="training clips at most (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: 3)")
    parser.add_argument("--config", type=Path, default=Path(__file__).parents[1] / "configs" / "ablate_prior.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/ablate_prior"), help="folder of the runs")
    parser.add_argument("settings", nargs="*", help="key=value changes to the config, for every row")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        write_manner(options.clips, options.out / "manifest.jsonl", options.manner, options.most)
        results: dict[str, list[dict[str, Any]]] = {}
        for seed in range(options.seeds):  # seeds outside: an interrupted table has whole comparisons
            for place, (name, row) in enumerate(rows(options.prior, options.weights).items()):
                results.setdefault(name, []).append(run(row, seed, place, options))
        torch.set_num_threads(1)
        right = alone(options.prior, list(read_manifest(options.out / "manifest.jsonl", split="test")))
    except (CaptionerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print("error: a training run failed (see above); the same command goes on from there", file=sys.stderr)
        return error.returncode if error.returncode > 0 else 1
    text = f"{table(results)}\n\n{ALONE}: emotion accuracy {100 * right:.1f}"
    print(f"Made (synthetic) clips, {options.seeds} seeds, scores x 100:\n\n{text}")
    write_text(options.out / "table.md", text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
