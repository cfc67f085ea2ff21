"""A checkpoint folder to a repository of the Hugging Face hub."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory


def upload(save: Callable[[Path], None], card: str, repo_id: str, private: bool, message: str) -> str:
    """Have a folder saved and upload it; returns the commit's address."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, private=private, exist_ok=True)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        save(folder)
        if card:  # where the hub looks for a card
            (folder / "README.md").write_text(card, encoding="utf-8")
        return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message))
