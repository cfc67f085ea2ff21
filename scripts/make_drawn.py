"""Make short synthetic clips of a drawn face with known action units, captioned in the manner of MAFW.

python scripts/make_drawn.py --out data/drawn --clips 400 --seed 0
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from captioner.errors import CaptionerError
from captioner.synth.captions import STYLES
from captioner.synth.clips import contact_sheet, make_clips


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = argparse.ArgumentParser(
        description="Make short synthetic clips of a drawn face with known action units, and their captions."
    )
    flags.add_argument("--out", type=Path, required=True, help="folder for videos/ and manifest.jsonl")
    flags.add_argument(
        "--clips", type=int, default=400, help="number of clips, all splits together (default 400)"
    )
    flags.add_argument("--seed", type=int, default=0, help="the same seed gives the same clips (default 0)")
    flags.add_argument(
        "--size", type=int, default=112, help="side of the picture in pixels, even (default 112)"
    )
    flags.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    flags.add_argument("--val", type=float, default=0.1, help="share of clips for validation (default 0.1)")
    flags.add_argument("--test", type=float, default=0.1, help="share of clips for the test (default 0.1)")
    flags.add_argument(
        "--style", choices=STYLES, default="mafw", help="manner of the captions (default mafw)"
    )
    flags.add_argument(
        "--sheet", type=Path, metavar="PNG", help="also write a contact sheet of the first clips here"
    )
    return flags


def main() -> int:
    """Run the command; returns the exit code."""
    args = parser().parse_args()
    try:
        with tqdm(total=args.clips, unit="clip", disable=not sys.stderr.isatty()) as bar:
            manifest = make_clips(
                args.out, args.clips, args.seed, args.size, args.workers, args.val, args.test, args.style,
                progress=lambda done, _: bar.update(done - bar.n),
            )  # fmt: skip
        if args.sheet:
            contact_sheet(args.sheet, min(12, args.clips), args.seed, args.size)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write under {args.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    print(manifest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
