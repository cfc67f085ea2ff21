"""Make synthetic clips of people whose facial action units are known: animated photos, or drawn faces.

The people act out small stories before a camera; each clip has captions, a label file with landmarks, boxes
and action units of every frame, and a line in manifest.jsonl. The last line on stdout is the manifest's path;
progress and warnings go to stderr. An interrupted run goes on where it stopped.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

# read by numpy when it is imported, here and in the workers: a clip's pictures are too small to share out
os.environ.setdefault("OMP_NUM_THREADS", "1")

from _command import guarded, script_parser
from tqdm import tqdm

from captioner.errors import ConfigError
from captioner.synth.gallery import SHEET, contact_sheet, write_page
from captioner.synth.maker import ATTEMPTS, make_clips
from captioner.synth.maker_options import MakerOptions
from captioner.synth.story.camera import FRAMINGS
from captioner.synth.story.grammar import STYLES
from captioner.synth.tally import caption_statistics, describe_result, format_statistics, unplayed_captions

BUNDLE = Path("~/.cache/captioner/face_landmarker.task")
EXAMPLES = """examples:
  python scripts/make_clips.py --faces photos --out data/clips --clips 2000
  python scripts/make_clips.py --out data/drawn --clips 200 --framing portrait    # drawn faces, no photos needed
  python scripts/make_clips.py --faces photos --out data/wide --size 320x240 --seconds 2-5 --fps 10-25 --people 1
  python scripts/make_clips.py --faces photos --out data/clips --check face_landmarker.task --sheet sheet.png

--faces names a folder with annotations.npz (key, split, person, landmarks, blendshapes, pose) and the photos in
*.tar or beside it. Clips of a split show persons of that split of the photos only.
"""


def clip_flags() -> argparse.ArgumentParser:
    """The command line."""
    flags = script_parser(__doc__)
    flags.epilog = EXAMPLES
    o = MakerOptions(Path())
    run = flags.add_argument_group("what to make")
    run.add_argument("--out", type=Path, required=True, help="folder for manifest.jsonl, videos/ and labels/")
    run.add_argument("--faces", type=Path, metavar="DIR", help="folder of annotated photos (default: drawn faces)")
    run.add_argument("--clips", type=int, default=o.clips, help=f"clips, all splits together (default {o.clips})")
    run.add_argument("--val", type=float, default=o.val, metavar="SHARE", help=f"of the clips (default {o.val})")
    run.add_argument("--test", type=float, default=o.test, metavar="SHARE", help=f"of the clips (default {o.test})")
    run.add_argument("--seed", type=int, default=o.seed, help=f"the same seed gives the same clips (default {o.seed})")
    film = flags.add_argument_group("the film")
    film.add_argument("--size", type=_size, default=(224, 224), metavar="N|WxH", help="pixels, even (default 224)")
    film.add_argument("--seconds", type=_span, default=o.seconds, metavar="A[-B]", help="length, 1 to 8 (default 3)")
    film.add_argument("--fps", type=_span, default=o.fps, metavar="A[-B]", help="frames a second, 8 to 30 (default 12)")
    film.add_argument("--people", type=int, default=o.people, help=f"at most, in a clip (default {o.people})")
    film.add_argument("--framing", choices=FRAMINGS, default=o.framing,
                      help="film: any; portrait: one person, near, in even light (default %(default)s)")  # fmt: skip
    film.add_argument("--oblique", action="store_true",
                      help="sad and frightened faces often raise and knit their brows at once")  # fmt: skip
    film.add_argument("--backgrounds", type=Path, metavar="DIR", help="folder of pictures to act before")
    film.add_argument("--voices", nargs="?", const="own", default="", choices=("own", "espeak"),
                      help="who talks, shouts or laughs is heard, and mouths follow: by a small voice of our own, "
                           "or espeak-ng of the extra `sound` (default: silent clips)")  # fmt: skip
    words = flags.add_argument_group("captions")
    words.add_argument("--style", "--manner", choices=STYLES, default=o.style,
                       help="theirs; captions in the other style go to `extra` (default %(default)s)")  # fmt: skip
    words.add_argument("--statistics", type=int, default=0, metavar="N",
                       help="also print those of N captions of N more stories, which nobody plays")  # fmt: skip
    words.add_argument("--genders", action="store_true",
                       help="name people by gender.npy of the photos; women play as often as men")  # fmt: skip
    words.add_argument("--captions", type=int, default=o.captions, help=f"a clip (default {o.captions})")
    work = flags.add_argument_group("the run")
    work.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: cores, %(default)s)"
    )
    work.add_argument("--check", metavar="FILE|none",
                      help="MediaPipe bundle that reads each face; a clip whose action units do not show is made anew, "
                           f"up to {ATTEMPTS} times (default: {BUNDLE} where it exists)")  # fmt: skip
    work.add_argument("--sheet", type=Path, metavar="PNG", help=f"contact sheet of {SHEET} random clips")
    work.add_argument("--html", metavar="FILE|none", help="page that plays the first clips (default OUT/index.html)")
    work.add_argument("-q", "--quiet", action="store_true", help="print the manifest's path only, and warnings")
    return flags


def _size(text: str) -> tuple[int, int]:
    """Width and height."""
    try:
        sides = [int(side) for side in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give N or WxH, as 224 or 320x240")
    return sides[0], sides[-1]


def _span(text: str) -> tuple[float, float]:
    try:
        ends = [float(end) for end in text.split("-")]
    except ValueError:
        ends = []
    if len(ends) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is no range; give A or A-B, as 3 or 2-5")
    return ends[0], ends[-1]


def _bundle(given: str | None, faces: Path | None) -> Path | None:
    """The checker's file: the given one, or, for photos, the usual one where it exists."""
    if given == "none":
        return None
    usual = BUNDLE.expanduser()
    if given is None:
        return usual if faces is not None and usual.is_file() else None
    return Path(given)


def options_of(args: argparse.Namespace) -> MakerOptions:
    """What the flags ask for."""
    return MakerOptions(
        out=args.out, clips=args.clips, seed=args.seed, faces=args.faces, width=args.size[0], height=args.size[1],
        seconds=args.seconds, fps=args.fps, style=args.style, captions=args.captions, people=args.people,
        framing=args.framing, backgrounds=args.backgrounds, val=args.val, test=args.test, workers=args.workers,
        voices=args.voices, bundle=_bundle(args.check, args.faces), genders=args.genders, oblique=args.oblique,
    )  # fmt: skip


def make_and_show(args: argparse.Namespace) -> None:
    """Make the clips and what shows them; print what came of it."""
    if args.sheet and args.sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {args.sheet} is no PNG; name a file that ends in .png")
    options = options_of(args)
    with tqdm(total=args.clips, unit="clip", disable=True if args.quiet else None) as bar:
        result = make_clips(options, progress=lambda done, _: bar.update(done - bar.n))
    if args.sheet:
        contact_sheet(args.sheet, result.manifest, seed=args.seed)
    if args.html != "none":
        write_page(Path(args.html) if args.html else args.out / "index.html", result.manifest)
    if not args.quiet:
        print(describe_result(result))
        if args.statistics:
            more = caption_statistics(unplayed_captions(options, args.statistics))
            print(f"of {args.statistics} more stories:", format_statistics(more), sep="\n")
    print(result.manifest)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = clip_flags().parse_args(arguments)
    hint = "finished clips are kept, the same command goes on from there"
    return guarded(lambda: make_and_show(options), hint, logging.WARNING if options.quiet else logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
