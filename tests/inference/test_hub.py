"""The hub: a card that its schema takes, and a folder pushed to and fetched from a local double of its server."""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from captioner.files import SHIPPED
from captioner.inference.hub import hub_card
from captioner.model.captioner import EmotionCaptioner
from captioner.model.checkpoint import save_checkpoint
from captioner.model.tokenizer import Tokenizer
from tests.helpers import ROOT, noise_video, tiny_config, with_vocabulary


def test_the_card_has_the_head_that_the_hub_reads() -> None:
    from huggingface_hub import ModelCard

    text = (SHIPPED / "default" / "CARD.md").read_text(encoding="utf-8")
    card = ModelCard(hub_card(text, {"licence": "Apache-2.0"}, "me/model"))
    assert card.text.lstrip().startswith("# default")
    about = card.data.to_dict()
    assert (about["license"], about["library_name"], about["language"]) == ("apache-2.0", "captioner", "en")
    assert about["pipeline_tag"] == "video-text-to-text" and "emotion" in about["tags"]
    scores = {each.metric_name: each.metric_value for each in card.data.eval_results}
    assert {"CIDEr", "METEOR", "Phrase F1"} <= set(scores)
    assert all(f"| {name} | {value:.3f}" in text for name, value in scores.items())
    assert "synthetic" in card.data.eval_results[0].dataset_name
    bare = ModelCard(hub_card("", {}, "me/model"))
    assert bare.data.license == "other" and "caption -m me/model" in bare.text


class HubDouble(http.server.BaseHTTPRequestHandler):
    """As much of the hub as pushing and fetching a small repository needs; files lie in `files`."""

    files: dict[str, bytes]
    commit = "0" * 40

    @property
    def here(self) -> str:
        """The double's own address."""
        return f"http://{self.headers['Host']}"

    def answer(self, body: Any = None, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body if body is not None else {}).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "/resolve/" in path:
            name = path.partition("/resolve/")[2].partition("/")[2]
            if name not in self.files:
                self.answer({"error": "no"}, 404, X_Error_Code="EntryNotFound")
                return
            content = self.files[name]
            self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=self.commit)
            return
        if "/tree/" in path:
            about = {"type": "file", "oid": "0"}
            self.answer([about | {"path": name, "size": len(body)} for name, body in self.files.items()])
            return
        siblings = [{"rfilename": name} for name in self.files]
        self.answer({"id": "me/tiny", "modelId": "me/tiny", "sha": self.commit, "siblings": siblings, "private": False})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self.chunked()
        if self.path.endswith("/create"):
            self.answer({"url": f"{self.here}/me/tiny", "name": "me/tiny", "id": "0"})
        elif "/preupload/" in self.path:
            wanted = json.loads(body)["files"]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer({"files": [how | {"path": file["path"]} for file in wanted]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self.answer({"commitUrl": f"{self.here}/me/tiny/commit/0", "commitOid": self.commit, "success": True})
        else:
            self.answer({})

    def chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    files: dict[str, bytes] = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Double", (HubDouble,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", files
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_captioner_is_pushed_fetched_and_kept(hub: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    address, files = hub
    tokenizer = Tokenizer.build(["A woman nods. The frown."])
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "tiny", EmotionCaptioner(with_vocabulary(tiny_config(), tokenizer)), tokenizer)
    clip = noise_video(tmp_path / "clip.mp4", 0)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip

    def run(code: str) -> str:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(f"import captioner; captioner.load({str(tmp_path / 'tiny')!r}, device='cpu').push_to_hub('me/tiny')")
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert files["README.md"].startswith(b"---\nlanguage: en\n")
    main = "import sys; from captioner.cli import main; sys.exit(main(['-m', 'me/tiny', '-d', 'cpu', '-q', {!r}{}]))"
    said = run(main.format(str(clip), ""))
    assert said.strip()
    files.clear()  # the hub is gone; the cache is not
    assert run(main.format(str(clip), ", '--offline'")) == said
