"""A checkpoint folder to a repository of the Hugging Face hub, with the card that the hub reads."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TASK = "video-text-to-text"
TAGS = ["video-captioning", "emotion", "facial-action-units", "ecpa"]
_MEASURED = re.compile(r"^## Measured on (.+)$", re.M)
_SCORE = re.compile(r"^\| (BLEU-4|METEOR|ROUGE-L|CIDEr|SPICE|Phrase F1|emotion accuracy) \| ([\d.]+)", re.M)


def upload(
    save: Callable[[Path], None], card: str, repo_id: str, private: bool, message: str, meta: Mapping[str, Any]
) -> str:
    """Have a folder saved and upload it; returns the commit's address."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save(folder)
        (folder / "README.md").write_text(hub_card(card, meta, repo_id), encoding="utf-8")
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message))


def hub_card(card: str, meta: Mapping[str, Any], repo_id: str) -> str:
    """A card with the head that the hub's schema asks for: licence, task, tags, and the scores of its first table."""
    from huggingface_hub import EvalResult, ModelCardData

    where = _MEASURED.search(card)
    table = card[where.end() :] if where else ""
    scores: dict[str, float] = {}
    for name, value in _SCORE.findall(table):
        scores.setdefault(name, float(value))  # the first table is that of the usual style
    results = [
        EvalResult(
            task_type=TASK, dataset_type="synthetic", dataset_name=where[1] if where else "", metric_type=name.lower(),
            metric_name=name, metric_value=value,
        )
        for name, value in scores.items()
    ]  # fmt: skip
    licence = str(meta.get("licence", "other")).lower()
    data = ModelCardData(
        language="en", license=licence, library_name="captioner", pipeline_tag=TASK, tags=TAGS,
        model_name=repo_id.rpartition("/")[2], eval_results=results or None,
    )  # fmt: skip
    text = card or f"# {repo_id}\n\nA captioner: `caption -m {repo_id} video.mp4`.\n"
    return f"---\n{data.to_yaml()}\n---\n\n{text}"
