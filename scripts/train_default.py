"""Train the captioner that ships: python scripts/train_default.py --faces photos

Stages, each a command that is printed before it runs and goes on where it was stopped: `clips` (made clips of animated
photos), `train` (configs/default.yaml; its experts and prior are the shipped ones), `evaluate` (both manners of
captions, on clips of persons no training part knows), `export` (weights in half precision and card).
"""

import argparse
import json
import logging
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from captioner.config import Config
from captioner.config_io import load_config
from captioner.data.manifest import Record, read_manifest
from captioner.errors import CaptionerError
from captioner.files import SHIPPED, missing
from captioner.model import checkpoint
from captioner.train.checkpoints import STATE

log = logging.getLogger("train_default")
ROOT = Path(__file__).parents[1]
STAGES = ("clips", "train", "evaluate", "export")

CARD = """# default

The captioner of this package: ECPA with {millions:.1f} M parameters ({trained:.1f} M trained here, the rest frozen
experts of `captioner/weights/experts`), 12 cross-modal layers of width {width}. It writes in two manners:
`--style faces` (what happens, then what the face shows, as MAFW's annotators write) and `--style feelings` (what
happens and how the person seems to feel, as EmVidCap's do).

**Trained on made (synthetic) clips alone**: {train} clips of {persons} persons, press photos of 2002-2003 mostly, whose
faces are moved by known action units; the captions come from a grammar that knows the action units and motions of each
clip. No film of a person was seen. The frozen experts and the face reader have their own cards.

- Made by `python scripts/train_default.py --faces photos`: {steps} steps, {epochs} epochs. Licence of code and weights:
  Apache-2.0. The photos are other people's; none is in the file.
- Input: {frames} frames of {size} px for the video encoder (the picture's centre square), {crops} aligned crops of the
  dominant face for the experts, read from the whole picture.
- Captions come from a search 8 wide that avoids phrases and deeds the reading does not see, and are chosen by their
  probability and by the reading: linear judges of each, fitted on the training clips. Greedy (`--beams 1`) is faster
  and misses more.
- Emotion labels name what a face seems to show, not what a person feels. Do not judge people by them; ask people before
  you caption their faces.
- Fails: profiles, covered or very small faces, several people who act at once (it describes the dominant one), actions
  of hands and bodies, objects, places: it has learned none of them. Made people have no gender in their captions.

## Measured on {clips} made (synthetic) clips of unseen persons

{tables}

Blind: what captions would score that never look at the video: the commonest phrases, caption or emotion of the training
clips for all, or some drawn as often as there. CIDEr is on its own scale (10 at most), all others go from 0 to 1. In
brackets: 95 % intervals over clips. Evidence accuracy: of the true action units that a caption names, the share linked
to a word of the naming phrase.
"""


def command(script: str, *arguments: str | Path) -> None:
    """Run a script of this folder or `-m eval`; its error lines are shown, and the run ends with its exit code."""
    program = ["-m", "eval"] if script == "eval" else [str(Path(__file__).parent / script)]
    line = [sys.executable, *program, *map(str, arguments)]
    log.info("$ python %s %s", shlex.join(program), shlex.join(map(str, arguments)))
    done = subprocess.run(line, check=False).returncode
    if done:
        sys.exit(done)


def clips(options: argparse.Namespace) -> None:
    """The made clips; not those of seed 11, which taught the AU net: of those it is surer than of any others."""
    command(
        "make_clips.py", "--faces", options.faces, "--out", options.clips, "--clips", str(options.count),
        "--val", "0.06", "--test", "0.07", "--seed", "12",
        "--seconds", "3", "--fps", "8", "--people", "2", "--check", "none", "--html", "none",
    )  # fmt: skip


def export(options: argparse.Namespace) -> None:
    """The best checkpoint in half precision, with its card."""
    best = Path(options.out) / "best"
    loaded = checkpoint.load_checkpoint(best)
    network, config = loaded.model, loaded.model.config
    tables = []
    for style in config.styles:
        path = Path(options.out) / f"test-{style}" / "scores.json"
        if not path.is_file():
            raise CaptionerError(f"{missing(path)}; the stage `evaluate` writes it")
        tables.append(table(style, json.loads(path.read_text(encoding="utf-8"))))
    records = read_manifest(options.clips / "manifest.jsonl", check_files=False)
    learned = [record for record in records if record.split == "train"]
    progress = json.loads((Path(options.out) / "last" / STATE).read_text(encoding="utf-8"))["progress"]
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad) / 1e6
    card = CARD.format(
        millions=millions, trained=trained, width=config.fusion.width, train=len(learned), persons=persons(learned),
        steps=progress["step"], epochs=progress["epoch"], frames=config.video.frames, size=config.video.size,
        crops=config.experts.frames, clips=sum(r.split == "test" for r in records), tables="\n\n".join(tables),
    )  # fmt: skip
    meta = {**loaded.meta, "licence": "Apache-2.0", "training_data": f"{len(learned)} made (synthetic) clips"}
    checkpoint.save_checkpoint(options.weights, network, loaded.tokenizer, meta=meta, card=card, half=True)
    log.info("%s: %.1f MB", options.weights, sum(f.stat().st_size for f in options.weights.iterdir()) / 1e6)


def persons(records: list[Record]) -> int:
    """How many persons act in these clips."""
    return len({name for record in records for name in record.extra.get("persons", [record.group])})


def table(style: str, report: dict[str, Any]) -> str:
    """Scores of one manner as Markdown."""
    lines = [f"### `--style {style}`", "", "| score | value |", "|---|---|"]
    for name, value in report["scores"].items():
        if isinstance(value, float):
            low, high = report["intervals"].get(name, (None, None))
            lines.append(f"| {name} | {value:.3f}{'' if low is None else f' ({low:.3f} .. {high:.3f})'} |")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """The asked stages in turn."""
    manifest = options.clips / "manifest.jsonl"
    settings = [f"data.manifest={manifest}", f"data.cache={options.clips}/cache", f"train.out={options.out}"]
    for stage in STAGES if options.stage == "all" else (options.stage,):
        if stage == "clips":
            clips(options)
        elif stage == "train":
            command("train.py", ROOT / "configs" / "default.yaml", *settings, *options.overrides)
        elif stage == "evaluate":
            for style in load_config(Config, ROOT / "configs" / "default.yaml", options.overrides).model.styles:
                command(
                    "eval", "checkpoint", options.out / "best", "--manifest", manifest, "--style", style,
                    "--out", options.out / f"test-{style}",
                )  # fmt: skip
        else:
            export(options)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, default=Path("data/faces"), help="folder of annotated photos")
    parser.add_argument("--clips", type=Path, default=Path("data/default"), help="where the made clips go")
    parser.add_argument("--count", type=int, default=4200, help="made clips, all splits together (default: 4200)")
    parser.add_argument("--out", type=Path, default=Path("runs/default"), help="where checkpoints and scores go")
    parser.add_argument("--weights", type=Path, default=SHIPPED / "default", help="where the shipped folder goes")
    parser.add_argument("--stage", choices=("all", *STAGES), default="all")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="keys of configs/default.yaml")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        run(options)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: the same command goes on from there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
