"""Turn public checkpoints into ours; what finds no place is named, and a file of another kind is refused.

    python scripts/convert.py swinbert model.bin --out models/swinbert --vocab vocab.txt
    python scripts/convert.py video-swin swin_base_patch244_window877_kinetics600_22k.pth --out b.safetensors
    python scripts/convert.py emotionclip emotionclip_latest.pt --out models/emotionclip

The second file starts the video encoder of a training run: model.video.pretrained=b.safetensors. The third is a
recogniser without labels: configs/emotion/emotionclip_mafw.yaml fits a probe on it, emotion.source=models/emotionclip.
"""

import hashlib
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path

from _command import run_subcommand
from safetensors.torch import save_file

from captioner.config import ModelConfig
from captioner.emotion.emotion_clip.released import convert_released, read_released
from captioner.emotion.folder import save_recogniser
from captioner.errors import CheckpointError
from captioner.files import atomic, missing
from captioner.model import checkpoint
from captioner.model.convert import Report, convert_swin, convert_swinbert, read_tensors
from captioner.model.tokenizer import Tokenizer, _open
from captioner.train.cards import render_card


def convert_captioner(parser: ArgumentParser, arguments: list[str]) -> None:
    """SwinBERT's model.bin -> a checkpoint folder: config.json, model.safetensors, tokenizer.json, CARD.md."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder, new or empty")
    parser.add_argument(
        "--vocab",
        default="bert-base-uncased",
        help="vocab.txt, tokenizer.json, their folder, or a hub name (default bert-base-uncased)",
    )
    parser.add_argument("--size", type=_positive, default=224, help="side of the frames in pixels (default 224)")
    parser.add_argument("--frames", type=_positive, help="frames a clip (default: as the learned mask, or 32)")
    parser.add_argument("--heads", type=_positive, help="attention heads of a layer (default: width / 64)")
    parser.add_argument(
        "--max-text",
        type=_positive,
        default=50,
        help="longest caption in pieces, [CLS] and [SEP] among them (default 50; published scores: 20)",
    )
    options = parser.parse_args(arguments)
    source, out = options.source, options.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} exists already: name a new folder")
    sizes = {"size": options.size, "frames": options.frames, "heads": options.heads, "max_text": options.max_text}
    model, report = convert_swinbert(read_tensors(source), str(source), **sizes)
    tokenizer = read_vocabulary(options.vocab)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise CheckpointError(
            f"{source} has {model.config.vocab_size} word pieces, --vocab {options.vocab} has "
            f"{tokenizer.vocab_size}: give the vocabulary it was trained with"
        )
    digest, about = file_digest(source), describe_network(model.config)
    meta = {"licence": "see CARD.md", "converted_from": f"SwinBERT {source.name}, sha256 {digest}"}
    card = render_card("swinbert", name=source.name, digest=digest, about=about, unused=report.unused)
    checkpoint.save_checkpoint(out, model, tokenizer, meta=meta, card=card)
    print(f"{out}: {about}")
    print_leftovers(report)


def convert_encoder(parser: ArgumentParser, arguments: list[str]) -> None:
    """An official Video Swin .pth -> one .safetensors file with torchvision's names."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="file, ending in .safetensors")
    options = parser.parse_args(arguments)
    source, out = options.source, options.out
    if out.suffix != ".safetensors":
        raise CheckpointError(f"--out {out} must end in .safetensors, by which a configuration knows it")
    config, state, report = convert_swin(read_tensors(source), str(source))
    about = {"format": "pt", "arch": config.arch, "converted_from": source.name}
    with atomic(out) as path:
        mode = path.stat().st_mode
        save_file(state, path, metadata=about)
        path.chmod(mode)  # safetensors writes 0600, which other users of a shared folder cannot read
    print(f"{out}: use model.video.arch={config.arch} and model.video.pretrained={out}")
    print_leftovers(report)


def convert_recogniser(parser: ArgumentParser, arguments: list[str]) -> None:
    """EmotionCLIP's released file -> a recogniser's folder: config.json, model.safetensors, CARD.md. All 379 names must
    be there and no other; nothing but tensors is unpickled."""
    parser.add_argument("source", type=Path, help="the downloaded file")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--head-width", type=_positive, default=64, help="channels of an attention head (default 64)")
    parser.add_argument("--text-head-width", type=_positive, help="of the text tower (default: the same)")
    parser.add_argument("--fusion-heads", type=_positive, default=8, help="heads over the frames (default 8)")
    options = parser.parse_args(arguments)
    source, out = options.source, options.out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise CheckpointError(f"{out} exists already: name a new folder")
    sizes = {"head_width": options.head_width, "text_head_width": options.text_head_width or 0}
    state = read_released(source)
    model = convert_released(state, str(source), fusion_heads=options.fusion_heads, **sizes)
    digest = file_digest(source)
    meta = {"licence": "see CARD.md", "converted_from": f"EmotionCLIP {source.name}, sha256 {digest}"}
    save_recogniser(out, model, meta=meta, card=render_card("emotionclip", name=source.name, digest=digest, fit=None))
    clip = model.config.clip
    print(
        f"{out}: {len(state)} tensors, {clip.vision_layers} + {clip.text_layers} layers of width {clip.vision_width} "
        f"and {clip.text_width}, {model.config.frames} frames, {clip.activation}"
    )


def _positive(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def read_vocabulary(name: str) -> Tokenizer:
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


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def describe_network(config: ModelConfig) -> str:
    """One line of what was found."""
    video, fusion = config.video, config.fusion
    mask = f"learned mask of {fusion.video_tokens} video tokens" if fusion.video_mask else "no video mask"
    return (
        f"{video.arch}, {video.frames} frames of {video.size} pixels, {fusion.layers} layers of width "
        f"{fusion.width} with {fusion.heads} heads, {config.vocab_size} word pieces, {mask}"
    )


def print_leftovers(report: Report) -> None:
    """What found no counterpart, by name."""
    for title, names in [("not used", report.unused), ("not in the file, set to zero", report.unfilled)]:
        print(f"{title} ({len(names)}): {', '.join(names) or 'none'}")


COMMANDS = {"swinbert": convert_captioner, "video-swin": convert_encoder, "emotionclip": convert_recogniser}


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    return run_subcommand(__doc__, COMMANDS, arguments)


if __name__ == "__main__":
    sys.exit(main())
