"""Files of references and hypotheses with faults, by seed: scored, or refused in one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from eval.proofs.cases import Case

_WORDS = ("a", "man", "smiles", "the", "frown", "and", "open", "mouth", "woman", "nods", "é", "👍", "\u202e", "...")
_ODD: tuple[Any, ...] = (
    None, True, -1, 1e308, float("nan"), "", " ", "\ud800", [], {}, [[]], [None], {"a": 1}, "x" * 20_000, 10**400,
    ["a", 3],
)  # fmt: skip


def score_files(folder: Path, seed: int, count: int) -> Iterator[Case]:
    """Cases of `count` pairs of files."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        place = folder / f"scores-{number:03d}"
        place.mkdir()
        suffix = (".json", ".jsonl")[rng.integers(2)]
        refs, hyps = place / f"refs{suffix}", place / f"hyps{suffix}"
        broken = rng.integers(2)
        refs.write_bytes(_file(rng, suffix, 3, broken=broken == 0))
        hyps.write_bytes(_file(rng, suffix, 1, broken=broken == 1))
        command = ["eval", "score", "--refs", str(refs), "--hyps", str(hyps), "--metrics", "bleu,cider"]
        yield Case(place.name, command, (0, 2), place)


def _file(rng: np.random.Generator, suffix: str, captions: int, broken: bool) -> bytes:
    rows = [{"id": f"v{n}", "captions": [_caption(rng) for _ in range(captions)]} for n in range(4)]
    if broken and rng.random() < 0.6:
        row = rows[rng.integers(len(rows))]
        row[("id", "captions", "emotion", "split")[rng.integers(4)]] = _ODD[rng.integers(len(_ODD))]
    whole = {str(row["id"]): row["captions"] for row in rows}
    text = "\n".join(map(json.dumps, rows)) if suffix == ".jsonl" else json.dumps(whole)
    return _damaged(text.encode(), rng) if broken else text.encode()


def _caption(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(_WORDS, size=int(rng.integers(1, 9))))


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data)))
    changed = (
        data, data[:at], data[:at] + b"\xff\x00" + data[at:], data + data, b"\xef\xbb\xbf" + data, b"[" * 50_000 + data,
        data.replace(b"v1", b"v2"), data.replace(b"{", b"["), b"", data.decode().encode("utf-16"),
        data.replace(b'"', b"'"), b'{"a":' * 50_000, data + b"\n\n,", data.replace(b"\n", b"\r"),
    )  # fmt: skip
    return changed[rng.integers(len(changed))]
