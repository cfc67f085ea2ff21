"""The fusion's start from BERT: its layers, embeddings and word head, as far as they fit; the rest is named."""

import logging
from typing import Any

import torch
from torch import Tensor

from captioner.errors import CheckpointError
from captioner.model.convert import BERT, HEAD, Report, bert_names, count
from captioner.model.fusion import Fusion
from captioner.model.tokenizer import Tokenizer
from captioner.model.weights import named_model

log = logging.getLogger(__name__)

KEY = "model.fusion.pretrained"
UNREAD = ("cls.seq_relationship.", "bert.pooler.", "bert.embeddings.position_ids")  # nothing here is like them


def start_fusion(fusion: Fusion, name: str, tokenizer: Tokenizer) -> Report:
    """Fill a fusion from a BERT with its masked-word head; what found no place on either side is logged and returned.

    Rows of the word table go by piece, so that a vocabulary of the captions' own takes what BERT knows of it.
    """
    state, settings = _bert(name)
    _check_sizes(fusion, settings, name)
    pieces = Tokenizer.from_pretrained(name)
    wanted = fusion.state_dict()
    names = {
        ours.removeprefix("fusion."): [their.removeprefix("trans_encoder.") for their in theirs]
        for ours, theirs in bert_names(fusion.config).items()
        if ours.startswith("fusion.") and ours != "fusion.video_mask"
    }
    layers = count(state, r"bert\.encoder\.layer\.(\d+)\.")
    placed = 0
    unfilled, used = ["kinds.weight"], set[str]()
    for ours, theirs in names.items():
        if any(their not in state for their in theirs):
            unfilled.append(ours)  # of layers that BERT does not have, or of a head that was not published
            continue
        _place(wanted[ours], [state[their] for their in theirs], ours, (tokenizer, pieces))
        used |= set(theirs)
        placed += 1
    unused = sorted(key for key in state if key not in used and not key.startswith(UNREAD))
    known = len(_shared_rows(tokenizer, pieces)[0])
    log.info(
        "fusion starts from %s: %d tensors of %d layers, %d of %d word pieces; not in it: %s; not used of it: %s",
        name, placed, layers, known, tokenizer.vocab_size, ", ".join(unfilled), _some(unused),
    )  # fmt: skip
    return Report(unused, unfilled)


def _bert(name: str) -> tuple[dict[str, Tensor], Any]:
    from transformers import BertForMaskedLM

    net, gaps = named_model(name, BertForMaskedLM, KEY)
    if strange := [key for key in gaps if not key.startswith("cls.")]:
        raise CheckpointError(f"{KEY}={name} is no BERT: it lacks {_some(strange)}")
    state = {key: value.detach() for key, value in net.state_dict().items() if key not in gaps}
    state.pop("cls.predictions.decoder.bias", None)  # the same tensor as predictions.bias
    return state, net.config


def _check_sizes(fusion: Fusion, settings: Any, name: str) -> None:
    """Sizes in which BERT's weights mean nothing in the fusion are refused."""
    config = fusion.config
    pairs = [
        ("width", config.width, settings.hidden_size),
        ("heads", config.heads, settings.num_attention_heads),
        ("ffn", config.ffn, settings.intermediate_size),
    ]
    odd = [f"model.fusion.{key}={theirs} (it is {ours})" for key, ours, theirs in pairs if ours != theirs]
    if odd:
        raise CheckpointError(f"{KEY}={name} does not fit: set {', '.join(odd)}, or leave {KEY} empty")


@torch.no_grad()
def _place(target: Tensor, sources: list[Tensor], name: str, vocabularies: tuple[Tokenizer, Tokenizer]) -> None:
    """Copy into one of our tensors: words by piece, places as many as there are, captions as the first kind of text."""
    if name in ("embed.words.weight", "head.decoder.weight", "head.decoder.bias"):
        ours, theirs = _shared_rows(*vocabularies)
        target[ours] = sources[0][theirs].to(target)
    elif name == "embed.positions.weight":
        rows = min(len(target), len(sources[0]))
        target[:rows] = sources[0][:rows].to(target)
    elif name == "embed.kind":
        target.copy_(sources[0][0])
    else:
        target.copy_(torch.cat(sources))


def _shared_rows(tokenizer: Tokenizer, other: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the pieces that both vocabularies have: in the first, in the second."""
    known = other.vocabulary()
    rows = [(place, known[piece]) for piece, place in tokenizer.vocabulary().items() if piece in known]
    return [ours for ours, _ in rows], [theirs for _, theirs in rows]


def _some(names: list[str]) -> str:
    return f"{len(names)} tensors ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else "nothing"


assert BERT.endswith("bert.") and HEAD.endswith("cls.predictions")  # the names above are those without SwinBERT's start
