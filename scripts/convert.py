"""Turn public checkpoints into ours; what finds no place is named, and a file of another kind is refused.

    python scripts/convert.py swinbert model.bin --out models/swinbert --vocab vocab.txt
    python scripts/convert.py video-swin swin_base_patch244_window877_kinetics600_22k.pth --out b.safetensors

The second file starts the video encoder of a training run: model.video.pretrained=b.safetensors
"""

import argparse
import hashlib
import sys
from pathlib import Path

from safetensors.torch import save_file

from captioner.config import ModelConfig
from captioner.errors import CaptionerError, CheckpointError
from captioner.files import atomic, missing
from captioner.model import checkpoint
from captioner.model.convert import Report, convert_swin, convert_swinbert, read_tensors
from captioner.model.tokenizer import Tokenizer, _open


def parser() -> argparse.ArgumentParser:
    """The command line."""
    flags = argparse.ArgumentParser(description="Turn public checkpoints into this package's format.")
    kinds = flags.add_subparsers(dest="kind", required=True)
    bert = kinds.add_parser("swinbert", help="SwinBERT's model.bin -> a checkpoint folder")
    swin = kinds.add_parser("video-swin", help="an official Video Swin .pth -> a .safetensors file")
    for each, out in ((bert, "checkpoint folder, new or empty"), (swin, "file, ending in .safetensors")):
        each.add_argument("source", type=Path, help="the downloaded file")
        each.add_argument("--out", type=Path, required=True, help=out)
    bert.add_argument(
        "--vocab",
        default="bert-base-uncased",
        help="vocab.txt, tokenizer.json, their folder, or a hub name (default bert-base-uncased)",
    )
    bert.add_argument("--size", type=positive, default=224, help="side of the frames in pixels (default 224)")
    bert.add_argument("--frames", type=positive, help="frames a clip (default: as the learned mask, or 32)")
    bert.add_argument("--heads", type=positive, help="attention heads of a layer (default: width / 64)")
    bert.add_argument(
        "--max-text",
        type=positive,
        default=50,
        help="longest caption in pieces, [CLS] and [SEP] among them (default 50; published scores: 20)",
    )
    return flags


def positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def main() -> int:
    """Run the command; returns the exit code."""
    args = parser().parse_args()
    try:
        if args.kind == "swinbert":
            swinbert(args)
        else:
            video_swin(args)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write {args.out}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def swinbert(args: argparse.Namespace) -> None:
    """model.bin -> config.json, model.safetensors, tokenizer.json, CARD.md."""
    if args.out.is_file() or (args.out.is_dir() and any(args.out.iterdir())):
        raise CheckpointError(f"{args.out} exists already: name a new folder")
    model, report = convert_swinbert(
        read_tensors(args.source),
        str(args.source),
        size=args.size,
        frames=args.frames,
        heads=args.heads,
        max_text=args.max_text,
    )
    tokenizer = vocabulary(args.vocab)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise CheckpointError(
            f"{args.source} has {model.config.vocab_size} word pieces, --vocab {args.vocab} has "
            f"{tokenizer.vocab_size}: give the vocabulary it was trained with"
        )
    digest = sha256(args.source)
    meta = {"licence": "see CARD.md", "converted_from": f"SwinBERT {args.source.name}, sha256 {digest}"}
    text = card(args.source.name, digest, model.config, report)
    checkpoint.save_checkpoint(args.out, model, tokenizer, meta=meta, card=text)
    print(f"{args.out}: {sizes(model.config)}")
    tell(report)


def video_swin(args: argparse.Namespace) -> None:
    """An official .pth -> one .safetensors file with torchvision's names."""
    if args.out.suffix != ".safetensors":
        raise CheckpointError(f"--out {args.out} must end in .safetensors, by which a configuration knows it")
    config, state, report = convert_swin(read_tensors(args.source), str(args.source))
    about = {"format": "pt", "arch": config.arch, "converted_from": f"{args.source.name}"}
    with atomic(args.out) as path:
        mode = path.stat().st_mode
        save_file(state, path, metadata=about)
        path.chmod(mode)  # safetensors writes 0600, which other users of a shared folder cannot read
    print(f"{args.out}: use model.video.arch={config.arch} and model.video.pretrained={args.out}")
    tell(report)


def vocabulary(name: str) -> Tokenizer:
    """The tokenizer of a vocab.txt, a tokenizer.json, their folder or a hub repository."""
    path = Path(name)
    if not path.is_file():
        if path.suffix in (".txt", ".json"):
            raise CheckpointError(f"--vocab: {missing(path)}")
        return Tokenizer.from_pretrained(name)
    try:
        return _open(path)
    except UnicodeDecodeError:
        raise CheckpointError(f"--vocab {name} is no text: give a vocab.txt or a tokenizer.json") from None


def sha256(path: Path) -> str:
    """The checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sizes(config: ModelConfig) -> str:
    """One line of what was found."""
    video, fusion = config.video, config.fusion
    mask = f"learned mask of {fusion.video_tokens} video tokens" if fusion.video_mask else "no video mask"
    return (
        f"{video.arch}, {video.frames} frames of {video.size} pixels, {fusion.layers} layers of width "
        f"{fusion.width} with {fusion.heads} heads, {config.vocab_size} word pieces, {mask}"
    )


def tell(report: Report) -> None:
    """What found no counterpart, by name."""
    for title, names in [("not used", report.unused), ("not in the file, set to zero", report.unfilled)]:
        print(f"{title} ({len(names)}): {', '.join(names) or 'none'}")


def card(name: str, digest: str, config: ModelConfig, report: Report) -> str:
    """CARD.md: where the weights come from, what they are, what is not theirs."""
    return f"""# Converted from SwinBERT

Made by `scripts/convert.py` from `{name}` (sha256 {digest}), a state dict of SwinBERT
(Lin et al., CVPR 2022, github.com/microsoft/SwinBERT). No value was trained here.

- {sizes(config)}
- No emotion prompts: this network sees the video alone. It names no emotion and no action units.
- Not used: {", ".join(f"`{each}`" for each in report.unused)}.
- Training data and licence of the weights are those of the file; SwinBERT's code is under the MIT licence.
"""


if __name__ == "__main__":
    sys.exit(main())
