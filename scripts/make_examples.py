"""Make the videos of examples/: a smiling public-domain portrait, animated with known action units.

python scripts/make_examples.py --portrait astronaut.png --bundle face_landmarker.task --out examples

The smile is first relaxed, by its own action units backwards and until the lips meet; that still is what moves.
"""

import argparse
import logging
import sys
from contextlib import closing
from pathlib import Path

import torch
from _command import guarded, script_parser

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


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = script_parser(__doc__)
    parser.add_argument("--portrait", required=True, help="picture of one person who looks ahead and smiles")
    parser.add_argument("--bundle", required=True, help="MediaPipe's face_landmarker.task")
    parser.add_argument("--out", required=True, type=Path, help="folder for the videos")
    options = parser.parse_args(arguments)
    return guarded(lambda: make_examples(options), hint="", level=logging.WARNING)


def make_examples(options: argparse.Namespace) -> None:
    """Write every video and print its path."""
    torch.set_num_threads(1)
    portrait = read_portrait(options.portrait)
    with closing(FaceTeacher(options.bundle)) as teacher:
        smiling, relaxed = make_puppets(portrait, teacher)
    for name, shots in CLIPS.items():
        path = options.out / f"{name}.mp4"
        write_video(path, film_shots(shots, smiling, relaxed), FPS, crf=21)
        print(path)


if __name__ == "__main__":
    sys.exit(main())
