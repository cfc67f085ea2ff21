"""Who may ask a server, addresses it fetches, uploads that stall or break off, closed tabs, the command's part."""

import asyncio
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from captioner.cli import main
from captioner.errors import CaptionerError
from captioner.output.arguments import Options
from captioner.serve import memory, running
from captioner.serve.jobs import CaptionJob, CaptionWish
from tests.output.fakes import FakeModel
from tests.serve.conftest import Server
from tests.serve.test_api import work_on_and_on


def test_other_hosts_and_other_pages_are_refused(server: Any) -> None:
    assert server.get("/", headers={"host": "evil.example"}).status_code == 421
    assert server.get("/", headers={"host": "[::1"}).status_code == 421
    crossed = server.post("/v1/captions", json={}, headers={"origin": "http://evil.example"})
    assert crossed.status_code == 403
    assert server.post("/v1/captions", json={}, headers={"origin": "http://testserver"}).status_code == 400
    assert 'captioner_refused_total{status="403"} 1.0' in server.get("/metrics").text


def test_a_token_opens_by_header_and_by_address(model: FakeModel) -> None:
    with Server(model, token="s3cret", hosts=()) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/").status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
        assert client.get("/?token=wrong").status_code == 401
        assert client.get("/?token=s3cret", follow_redirects=False).status_code == 303
        assert client.get("/").status_code == 200  # the cookie


@pytest.fixture
def shelf(clips: list[Path]) -> Iterator[str]:
    """A web server with /20.mp4, redirects and an error."""

    class Shelf(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/loop"):
                self.send_response(302)
                self.send_header("Location", self.path)
                self.end_headers()
                return
            if self.path != "/20.mp4":
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(clips[0].read_bytes())

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def test_addresses_are_fetched_within_limits(model: FakeModel, shelf: str) -> None:
    made = Server(model, private=True)
    with made as client:
        answer = client.post("/v1/captions", json={"address": f"{shelf}/20.mp4"})
        assert answer.json()["caption"] == "Brightness 20."
        key = answer.headers["location"]
        assert client.get(f"{key}/film").status_code == 200
        assert client.delete(key).status_code == 204
        assert not list(made.board.folder.iterdir())
        for path, told in (("/gone", "the server says 404"), ("/loop", "would lead to an infinite loop")):
            assert told in client.post("/v1/captions", json={"address": shelf + path}).json()["error"]
        assert "cannot be fetched" in client.post("/v1/captions", json={"address": "http://127.0.0.1:1/"}).json()["error"]
    with Server(model, private=True, upload=10) as client:
        assert "it is larger than" in client.post("/v1/captions", json={"address": f"{shelf}/20.mp4"}).json()["error"]
    with Server(model, addresses=False) as client:
        assert "fetches no addresses" in client.post("/v1/captions", json={"address": shelf}).json()["error"]


def answers(app: Any, messages: list[Any], wait: float = 5.0) -> list[Any]:
    """What an application sends to an upload of which these messages arrive, and then nothing."""
    sent: list[Any] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.sleep(wait)
        return messages.pop(0)

    async def send_(message: Any) -> None:
        sent.append(message)

    kind = b"multipart/form-data; boundary=b"
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/captions", "raw_path": b"/v1/captions", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"testserver"), (b"content-type", kind)], "server": ("testserver", 80),
        "client": ("1.2.3.4", 5),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send_))
    return sent


HALF = {
    "type": "http.request", "more_body": True,
    "body": b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp4\"\r\n\r\nhalf",
}  # fmt: skip


def test_half_an_upload_leaves_nothing(model: FakeModel) -> None:
    stalled = Server(model, stall=0.1)
    assert answers(stalled.app, [dict(HALF)])[0]["status"] == 408
    broken = Server(model)
    told = answers(broken.app, [dict(HALF), {"type": "http.disconnect"}])
    assert not told or told[0]["status"] == 400
    for each in (stalled, broken):
        assert each.board.waiting == 0
        assert not list(each.board.folder.iterdir())
        each.board.close()


def test_a_closed_tab_calls_its_work_off(model: FakeModel, clips: list[Path]) -> None:
    model.hook = work_on_and_on
    made = Server(model, grace=0.1)
    service = next(r for r in made.app.app.routes if getattr(r, "path", "") == "/v1/captions").endpoint.__self__

    async def look_and_leave() -> CaptionJob:
        made.board.start()
        job = made.board.add(CaptionJob("a.mp4", CaptionWish(), clips[0], example=True))
        walk = service._changes(job)
        await anext(walk)
        await walk.aclose()
        for _ in range(200):
            if job.ended:
                break
            await asyncio.sleep(0.01)
        return job

    assert asyncio.run(look_and_leave()).status == "cancelled"
    made.board.close()


def test_who_waits_in_one_request_and_leaves(model: FakeModel, clips: list[Path]) -> None:
    model.hook = work_on_and_on
    made = Server(model)
    made.board.start()
    body = HALF["body"].replace(b"half", clips[0].read_bytes()) + b"\r\n--b--\r\n"
    answers(made.app, [{"type": "http.request", "body": body}, *({"type": "http.disconnect"} for _ in range(99))])
    began = time.monotonic()
    while made.board.waiting and time.monotonic() - began < 2:
        time.sleep(0.01)
    assert made.board.waiting == 0
    made.board.close()


def test_the_command_takes_no_inputs_and_tells_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--serve", "a.mp4"]) == 2
    assert "--serve takes no inputs" in capsys.readouterr().err
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["--serve", "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 is in use: give another with --port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--serve", "--port", "99999"])
    with pytest.raises(CaptionerError, match="cannot be opened"):
        running.taken_port("no.such.host.invalid", 7860)


def test_what_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(running, "NEEDED", ("json", "no_such_package"))
    assert main(["--serve"]) == 2
    assert "--serve needs no_such_package: pip install 'captioner[serve]'" in capsys.readouterr().err


def test_other_machines_need_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAPTIONER_TOKEN", raising=False)
    assert running.limits_of(Options()).token == ""
    assert running.limits_of(Options()).hosts
    away = running.limits_of(Options(host="0.0.0.0", max_mb=3, offline=True))
    assert len(away.token) > 16 and away.hosts == () and away.upload == 3_000_000 and not away.addresses
    monkeypatch.setenv("CAPTIONER_TOKEN", "mine")
    assert running.limits_of(Options(host="0.0.0.0")).token == "mine"


def test_the_command_serves_until_control_c(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import uvicorn

    import captioner

    def run(self: Any, sockets: Any) -> None:
        assert sockets[0].getsockname()[1] > 0
        raise KeyboardInterrupt

    monkeypatch.setattr(captioner, "load", model.load)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    assert main(["--serve", "--port", "0", "-d", "cpu"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("captioner serves at http://127.0.0.1:")
    assert said.err == "device: cpu\nstopped; uploads are deleted\n"


def test_memory_is_given_back_where_the_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, tuple[int, ...]]] = []

    class Library:
        def mallopt(self, *given: int) -> None:
            calls.append(("mallopt", given))

    monkeypatch.setattr(memory, "_library", Library)
    memory.share_arenas(3)
    memory.give_back()  # this library cannot, and that is no fault
    assert calls == [("mallopt", (-8, 3))]
