"""Make the videos of examples/: a smiling public-domain portrait, animated with known action units.

python scripts/make_examples.py --portrait astronaut.png --bundle face_landmarker.task --out examples
python scripts/make_examples.py --captions

The smile is first relaxed, by its own action units backwards and until the lips meet; that still is what moves.
--captions writes anew what the captioner says of the videos: the table of OUT/README.md, the picture OUT/caption.webp,
its text and the first example in the README beside OUT. Run it when the captioner was trained again.
"""

import argparse
import logging
import re
import sys
from contextlib import closing
from pathlib import Path

import torch
from _command import guarded, script_parser

import captioner
from captioner.errors import CaptionerError
from captioner.files import write_text
from captioner.inference.manner import PLAIN
from captioner.output.animation import write_animation
from captioner.synth.living_portrait import FPS, PortraitShot, film_shots, make_puppets, read_portrait
from captioner.synth.teacher import FaceTeacher
from captioner.video.reading import write_video

CLIPS: dict[str, tuple[PortraitShot, ...]] = {
    "smile": (PortraitShot(3.6, (0.50, 0.53), {}, 0.5, 0.7, ("nods",), 3, smiles=True),),
    "surprise": (PortraitShot(3.4, (0.49, 0.55), {1: 0.9, 2: 0.9, 5: 0.4, 25: 0.55, 26: 0.8}, 0.5, 0.3, (), 5),),
    "frown": (PortraitShot(3.6, (0.51, 0.54), {4: 0.9, 7: 0.5, 15: 0.5}, 0.3, 0.5, ("shakes_head",), 2),),
    "sad": (PortraitShot(3.6, (0.52, 0.50), {1: 0.9, 4: 0.55, 15: 0.6, 43: 0.25}, 0.3, 0.7, ("lowers_head",), 8),),
    "talk": (
        PortraitShot(1.7, (0.46, 0.46), {}, actions=("talks",), seed=1),
        PortraitShot(1.5, (0.60, 0.62), {1: 0.85, 2: 1.0}, 0.1, 0.25, seed=4),
        PortraitShot(1.3, (0.47, 0.48), {}, 0.1, 0.4, seed=6, smiles=True),
    ),
}
SHOWN, FIRST = "surprise", "smile"  # the example in the README's picture, and that of its first command


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = script_parser(__doc__)
    parser.add_argument("--portrait", help="picture of one person who looks ahead and smiles")
    parser.add_argument("--bundle", help="MediaPipe's face_landmarker.task")
    parser.add_argument("--captions", action="store_true", help="write what the captioner says of the videos in OUT")
    parser.add_argument("-m", "--model", help="the captioner (default: the shipped one)")
    parser.add_argument("--out", type=Path, default=Path("examples"), help="folder of the videos (default: examples)")
    options = parser.parse_args(arguments)
    return guarded(lambda: make_examples(options), hint="", level=logging.WARNING)


def make_examples(options: argparse.Namespace) -> None:
    """Write what is asked for and print its paths."""
    torch.set_num_threads(1)
    if not options.captions and not (options.portrait and options.bundle):
        raise CaptionerError("give --portrait and --bundle for the videos, or --captions for what is said of them")
    if options.portrait and options.bundle:
        make_videos(options.portrait, options.bundle, options.out)
    if options.captions:
        write_pages(captioner.load(options.model, "cpu"), options.out, options.out.resolve().parent / "README.md")


def make_videos(picture: str, bundle: str, out: Path) -> None:
    """Write every video."""
    portrait = read_portrait(picture)
    with closing(FaceTeacher(bundle)) as teacher:
        smiling, relaxed = make_puppets(portrait, teacher)
    for name, shots in CLIPS.items():
        path = out / f"{name}.mp4"
        write_video(path, film_shots(shots, smiling, relaxed), FPS, crf=21)
        print(path)


def write_pages(model: captioner.Captioner, folder: Path, readme: Path) -> None:
    """Write the table of the folder's README, then the picture, its text and the first caption of `readme`."""
    table, front = folder / "README.md", readme.read_text(encoding="utf-8")
    write_text(table, say_again(table.read_text(encoding="utf-8"), model, folder))
    shown = model.caption(folder / f"{SHOWN}.mp4", evidence=True)
    write_animation(shown, folder / f"{SHOWN}.mp4", folder / "caption.webp")
    first = model.caption(folder / f"{FIRST}.mp4").text
    front = re.sub(rf"(\$ caption \S+/{FIRST}\.mp4\n).*", lambda found: found[1] + first, front)
    front = re.sub(r"!\[[^\]]*(?=\]\(\S+/caption\.webp\))", lambda _: f"![{alternative(shown)}", front)
    write_text(readme, front)
    for path in (table, folder / "caption.webp", readme):
        print(path)


def alternative(shown: captioner.Caption) -> str:
    """What the picture shows, in words."""
    units = ", ".join(f"{each.name} at {each.second:.1f} s" for each in shown.phrases if each.second is not None)
    return f"A clip of a face, beside it its caption, “{shown.text}”, and the movements that it rests on: {units}."


def say_again(page: str, model: captioner.Captioner, folder: Path) -> str:
    """The page with its table of captions written anew; the head of a column names its style."""
    head = re.search(r"^\| file \| (\w+(?: \| \w+)*) \|\n\|[-|]+\n(?:\|.*\n)+", page, re.M)
    known = [PLAIN, *model.config.styles]
    styles = [style for style in (head[1].split(" | ") if head else ()) if style in known]
    if head is None or not styles:
        raise CaptionerError(f"{folder / 'README.md'} has no table whose columns are styles: {known}")
    lines = [f"| file | {' | '.join(styles)} |", "|---" * (len(styles) + 1) + "|"]
    for name in sorted(CLIPS):
        said = [model.caption(folder / f"{name}.mp4", style=style).text for style in styles]
        lines.append(f"| `{name}.mp4` | {' | '.join(said)} |")
    return page[: head.start()] + "\n".join(lines) + "\n" + page[head.end() :]


if __name__ == "__main__":
    sys.exit(main())
