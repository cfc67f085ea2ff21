"""The server's interface over a fake captioner: captions, progress, files, faults, limits, two users at once."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from captioner.output.writers import WRITERS
from captioner.stopping import heed_stop
from tests.helpers import ROOT
from tests.output.fakes import FakeModel
from tests.serve.conftest import Server


def send(client: Any, path: Path, **fields: Any) -> Any:
    return client.post("/v1/captions", files={"file": (path.name, path.read_bytes())}, data=fields)


def level(told: dict[str, Any]) -> int:
    """How bright the fake captioner found a video."""
    return int(told["caption"].split()[1].rstrip("."))


def ended(client: Any, key: str) -> dict[str, Any]:
    """The state of a job once it has ended, read from its events."""
    told: dict[str, Any] = {}
    with client.stream("GET", f"/v1/captions/{key}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                told = json.loads(line[6:])
    return told


def test_an_upload_is_captioned_and_deleted(server: Any, clips: list[Path]) -> None:
    answer = send(server, clips[2], people="2")
    assert answer.status_code == 200
    record = answer.json()
    pytest.importorskip("jsonschema").validate(
        record, json.loads((ROOT / "captioner" / "output" / "schema.json").read_text())
    )
    assert [level(each) for each in record["segments"]] == pytest.approx([60, 60], abs=2)
    assert record["file"] == "60.mp4"
    assert record["settings"]["people"] == 2
    assert not list(server.board.folder.iterdir())
    assert 'captioner_captions_total{outcome="done"} 1.0' in server.get("/metrics").text
    assert server.get("/healthz").json()["waiting"] == 0


def test_without_waiting_progress_comes_as_events(server: Any, clips: list[Path]) -> None:
    answer = send(server, clips[0], wait="false", window="5")
    assert answer.status_code == 202
    key = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/captions/{key}"
    told = ended(server, key)
    assert (told["status"], told["error"], told["plays"]) == ("done", "", True)
    assert len(told["result"]["segments"]) == 2
    assert told["result"]["settings"]["window"] == 5.0
    page = server.get(f"/v1/captions/{key}/page").text
    assert page.startswith('<div class="film"') and "<video" in page and "<script" not in page
    assert server.get(f"/v1/captions/{key}/film").status_code == 404  # the upload is gone, the browser has it
    for kind, writer in WRITERS.items():
        file = server.get(f"/v1/captions/{key}/files/{kind}")
        assert file.status_code == 200
        assert f'filename="20.{writer.suffix}"' in file.headers["content-disposition"]
        assert "Brightness 20" in file.text or kind == "faces"
    assert "allowed: txt" in server.get(f"/v1/captions/{key}/files/exe").json()["error"]
    assert server.delete(f"/v1/captions/{key}").status_code == 204
    for gone in ("", "/events", "/page", "/film", "/files/txt"):
        assert server.get(f"/v1/captions/{key}{gone}").status_code == 404


def test_examples_and_models(server: Any) -> None:
    assert "smile.mp4" in server.get("/v1/examples").json()["examples"]
    key = server.post("/v1/captions", json={"example": "smile.mp4", "wait": False}).json()["id"]
    assert ended(server, key)["status"] == "done"
    film = server.get(f"/v1/captions/{key}/film", headers={"range": "bytes=0-9"})
    assert (film.status_code, len(film.content)) == (206, 10)  # a player may seek
    server.delete(f"/v1/captions/{key}")
    assert (ROOT / "examples" / "smile.mp4").is_file()
    about = server.get("/v1/models").json()["data"][0]
    assert (about["id"], about["styles"]) == ("fake", ["plain", "faces"])


@pytest.mark.parametrize(("body", "told"), [
    ({}, "give a file, an address or an example"),
    ({"example": "../../etc/passwd"}, "there is no example"),
    ({"address": "file:///etc/passwd"}, "must begin with http:// or https://"),
    ({"address": "http://[::1"}, "cannot be fetched"),
    ({"address": "http://127.0.0.1:1/a.mp4"}, "inside a private network"),
    ({"address": "http://" + "a" * 5000}, "longer than 4,000"),
    ({"example": "smile.mp4", "style": "opera"}, "unknown style 'opera'"),
    ({"example": "smile.mp4", "habits": "bad"}, "unknown habits 'bad'; allowed: mafw, none"),
    ({"example": "smile.mp4", "people": -1}, "people must be a whole number from 0 to 16"),
    ({"example": "smile.mp4", "people": 10**30}, "people must be a whole number"),
    ({"example": "smile.mp4", "window": "soon"}, "window must be seconds"),
    ({"example": "smile.mp4", "beams": 1e99}, "beams must be a whole number"),
    ([1], "must be a JSON object"),
])  # fmt: skip
def test_what_cannot_be_asked_is_told(server: Any, body: Any, told: str) -> None:
    answer = server.post("/v1/captions", json=body)
    assert answer.status_code in (400, 422)
    assert told in answer.json()["error"]


def test_broken_bodies(server: Any) -> None:
    kinds = {"application/json": b"{", "text/plain": b"x", "multipart/form-data": b"x", "": b"x"}
    kinds["multipart/form-data; boundary=b"] = b"--b\r\nnothing"
    for kind, body in kinds.items():
        answer = server.post("/v1/captions", content=body, headers={"content-type": kind})
        assert answer.status_code == 400, kind
        assert answer.json()["error"]
    assert not list(server.board.folder.iterdir())


@pytest.mark.parametrize(
    "name", ["../../evil.mp4", "a\\b\\c.mp4", "x" * 400 + ".mp4", "<img src=x>.mp4", "\u202egpj.mp4", "a;b"]
)
def test_hostile_names_stay_names(server: Any, clips: list[Path], name: str) -> None:
    answer = server.post("/v1/captions", files={"file": (name, clips[0].read_bytes())})
    assert answer.status_code == 200
    assert "/" not in answer.json()["file"] and len(answer.json()["file"]) <= 200
    assert not list(server.board.folder.iterdir())


def test_text_for_a_video_costs_one_line(server: Any) -> None:
    answer = server.post("/v1/captions", files={"file": ("notes.mp4", b"I am no video")})
    assert answer.status_code == 422
    assert answer.json() == {"error": "'notes.mp4' holds text, not a video"}
    empty = server.post("/v1/captions", files={"file": ("none.mp4", b"")})
    assert empty.json()["error"].startswith("'none.mp4' is empty")


@pytest.mark.slow
def test_fifty_uploads_by_eight_clients_are_not_mixed_up(server: Any, clips: list[Path]) -> None:
    def one(number: int) -> tuple[int, int]:
        path = clips[number % len(clips)]
        record = send(server, path).json()
        assert record["file"] == path.name
        return int(path.stem), level(record)

    with ThreadPoolExecutor(8) as clients:
        pairs = list(clients.map(one, range(50)))
    assert all(abs(sent - seen) <= 2 for sent, seen in pairs)
    assert not list(server.board.folder.iterdir())
    assert len(server.board.jobs) == 50


def test_a_full_queue_and_large_uploads(model: FakeModel, clips: list[Path]) -> None:
    go_on = threading.Event()
    model.hook = lambda _: go_on.wait(10)
    made = Server(model, queue=2, upload=1000)
    with made as client:
        keys = [client.post("/v1/captions", json={"example": "smile.mp4", "wait": False}).json()["id"] for _ in "ab"]
        full = client.post("/v1/captions", json={"example": "smile.mp4", "wait": False})
        assert (full.status_code, full.headers["retry-after"]) == (429, "30")
        go_on.set()
        assert [ended(client, key)["status"] for key in keys] == ["done", "done"]
        assert client.post("/v1/captions", content=b"x" * 2_000_000).status_code == 413

        def pieces() -> Any:  # without a length
            yield b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\r\n"
            for _ in range(30):
                yield b"x" * 100_000

        kind = {"content-type": "multipart/form-data; boundary=b"}
        large = client.post("/v1/captions", content=pieces(), headers=kind)
        assert large.status_code == 413
        assert "at most 0 MB are taken" in large.json()["error"]
        assert not list(made.board.folder.iterdir())


def work_on_and_on(_: str) -> None:
    for _ in range(1000):
        heed_stop()
        time.sleep(0.01)


def test_cancelled_work_stops(model: FakeModel, clips: list[Path]) -> None:
    model.hook = work_on_and_on
    made = Server(model)
    with made as client:
        key, waiting = (send(client, clips[0], wait="false").json()["id"] for _ in "ab")
        while made.board.jobs[key].status != "running":
            time.sleep(0.01)
        jobs = [made.board.jobs[each] for each in (waiting, key)]
        began = time.monotonic()
        for each in (waiting, key):
            assert client.delete(f"/v1/captions/{each}").status_code == 204
        while not all(job.ended for job in jobs):
            time.sleep(0.01)
        assert time.monotonic() - began < 2
        assert [job.status for job in jobs] == ["cancelled", "cancelled"]
        model.hook = lambda _: None
        assert send(client, clips[1]).status_code == 200  # the next one is worked on
        assert not list(made.board.folder.iterdir())


def test_work_that_takes_too_long_and_films_that_are_too_long(model: FakeModel, clips: list[Path]) -> None:
    model.hook = work_on_and_on
    with Server(model, work=0.2) as client:
        assert "took longer than 0 s" in send(client, clips[0]).json()["error"]
    model.hook = lambda _: None
    with Server(model, film=0.05) as client:
        assert "this server takes 0 s" in send(client, clips[0]).json()["error"]


def test_old_captions_are_forgotten(model: FakeModel, clips: list[Path]) -> None:
    made = Server(model, kept=3)
    with made as client:
        for _ in range(6):
            send(client, clips[0])
        assert len(made.board.jobs) <= 4
    assert not made.board.folder.exists()


def test_pages_and_reference_need_no_network(server: Any) -> None:
    for path in ("/", "/docs", "/web/app.js", "/web/app.css", "/page/page.js", "/page/page.css"):
        answer = server.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        for outside in ("https://cdn", "//unpkg", "googleapis", "@import", "url("):
            assert outside not in answer.text
    assert "/v1/captions/{key}/events" in server.get("/docs").text
    assert "multipart/form-data" in server.get("/openapi.json").text
    assert server.get("/page/page.py").status_code == server.get("/web/../jobs.py").status_code == 404
