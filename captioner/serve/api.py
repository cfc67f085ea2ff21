"""The server's routes: captions of uploads, addresses and examples; their progress, pages and files; models, health."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from captioner.errors import CaptionerError, printable
from captioner.files import VIDEO_SUFFIXES
from captioner.inference.manner import known_styles
from captioner.output.page import HERE as PAGE_FOLDER
from captioner.output.page import film_html
from captioner.output.writers import WRITERS
from captioner.serve.counters import Counters
from captioner.serve.guards import Guards, RequestRefused, fault
from captioner.serve.jobs import DONE, CaptionJob, JobBoard, checked_wish, flag
from captioner.serve.openapi import BODY, DESCRIPTION, reference_page
from captioner.serve.serve_limits import ServeLimits
from captioner.version import __version__

WEB = Path(__file__).parent / "web"
BEAT = 0.05  # seconds between looks at a job that somebody watches


class Service:
    """The handlers of the routes, over one board of jobs."""

    def __init__(self, board: JobBoard) -> None:
        self.board, self.limits = board, board.limits
        self._tasks: set[asyncio.Task[None]] = set()

    async def create(self, request: Request) -> Response:
        """Caption a video: an upload, an address or an example."""
        if self.board.waiting >= self.limits.queue:
            return fault(429, "too many videos are waiting: try again in a minute", **{"retry-after": "30"})
        self.board.arriving += 1
        try:
            job, wait = await self._taken(request)
        except CaptionerError as error:
            return fault(400, printable(str(error)))
        except ClientDisconnect:
            return fault(400, "the upload was broken off")
        finally:
            self.board.arriving -= 1
        self.board.add(job)
        if not wait:
            return JSONResponse(self.told(job), 202, {"location": f"/v1/captions/{job.id}"})
        while not job.ended:
            if await request.is_disconnected():
                self.board.cancel(job)
            await asyncio.sleep(BEAT)
        told = self.told(job)
        if job.status != DONE:
            self.board.forget(job)
            return JSONResponse({"error": job.error or job.status}, 422 if job.error else 499)
        return JSONResponse(told["result"], headers={"location": f"/v1/captions/{job.id}"})

    async def _taken(self, request: Request) -> tuple[CaptionJob, bool]:
        """The job of a request, its upload in a file of ours."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind == "application/json":
            values = _object(await request.body())
            return self._asked(values), flag(values.get("wait", True))
        if kind != "multipart/form-data":
            raise CaptionerError(f"send multipart/form-data with a file, or application/json, not {kind[:60]!r}")
        try:
            async with request.form(max_files=1, max_fields=20) as form:
                values = {name: value for name, value in form.items() if isinstance(value, str)}
                upload = form.get("file")
                if not isinstance(upload, UploadFile):
                    return self._asked(values), flag(values.get("wait", True))
                wish = checked_wish(self.board.model, values)
                name = printable(Path((upload.filename or "video").replace("\\", "/")).name)[:200] or "video"
                path = self.board.new_path(name)
                await asyncio.to_thread(_copy, upload, path)
        except (CaptionerError, ClientDisconnect, RequestRefused):
            raise
        except Exception as error:
            raise CaptionerError(f"the form cannot be read: {getattr(error, 'detail', error)}") from None
        self.board.counters.bytes.inc(path.stat().st_size)
        return CaptionJob(name, wish, path), flag(values.get("wait", True))

    def _asked(self, values: dict[str, Any]) -> CaptionJob:
        """The job of a request without a file."""
        wish = checked_wish(self.board.model, values)
        if values.get("example"):
            name = str(values["example"])
            if name not in (known := examples()):
                raise CaptionerError(f"there is no example {name[:80]!r}; allowed: {', '.join(known) or 'none'}")
            return CaptionJob(name, wish, known[name], example=True)
        address = str(values.get("address") or "").strip()
        if not address:
            raise CaptionerError("give a file, an address or an example")
        if not self.limits.addresses:
            raise CaptionerError("this server fetches no addresses: upload the file instead")
        if len(address) > 4000:
            raise CaptionerError("the address is longer than 4,000 letters")
        return CaptionJob(printable(address), wish, address=address)

    def told(self, job: CaptionJob) -> dict[str, Any]:
        """A job as its listeners see it."""
        told: dict[str, Any] = {
            "id": job.id, "name": job.name, "status": job.status, "error": job.error, "before": self.board.before(job),
            "second": round(job.second, 2), "duration": round(job.duration, 2),
        }  # fmt: skip
        if job.video is not None:
            about = self.board.about(job)
            record = job.video.record(about)
            told |= {"text": job.video.text, "result": record, "formats": list(WRITERS), "plays": _plays(job)}
        return told

    def _job(self, key: str) -> CaptionJob | None:
        return self.board.jobs.get(key)

    async def state(self, key: str) -> Response:
        """Where a video stands, with its captions when they are done."""
        job = self._job(key)
        return JSONResponse(self.told(job)) if job else _gone()

    async def delete(self, key: str) -> Response:
        """Call the work off, and forget the video and its captions."""
        job = self._job(key)
        if job is None:
            return _gone()
        self.board.forget(job)
        return Response(status_code=204)

    async def events(self, key: str) -> Response:
        """The progress of a video as server-sent events, each with its whole state."""
        job = self._job(key)
        if job is None:
            return _gone()
        headers = {"cache-control": "no-store"}
        return StreamingResponse(self._changes(job), media_type="text/event-stream", headers=headers)

    async def _changes(self, job: CaptionJob) -> AsyncIterator[str]:
        job.listeners += 1
        seen: Any = None
        try:
            while True:
                ended = job.ended  # asked first: what ends while it is told is told once more
                now = (job.changed, self.board.before(job))
                if now != seen or ended:
                    seen = now
                    yield f"data: {json.dumps(self.told(job))}\n\n"
                if ended:
                    return
                await asyncio.sleep(BEAT)
        finally:
            job.listeners -= 1
            if not job.ended:
                task = asyncio.get_running_loop().create_task(self._abandoned(job))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _abandoned(self, job: CaptionJob) -> None:
        """Call off what nobody watches any more; a page that comes back in time goes on."""
        await asyncio.sleep(self.limits.grace)
        if not job.listeners and not job.ended:
            self.board.cancel(job)

    async def page(self, key: str) -> Response:
        """The film and its captions as HTML, for the web app."""
        job = self._job(key)
        if job is None or job.video is None:
            return _gone()
        uri = f"/v1/captions/{job.id}/film" if job.path is not None else "" if _plays(job) else None
        return HTMLResponse(film_html(job.video, uri, "c"))

    async def film(self, key: str) -> Response:
        """An example, or what was fetched from an address."""
        job = self._job(key)
        if job is None or job.path is None or job.video is None:
            return _gone()
        return FileResponse(job.path)

    async def file(self, key: str, kind: str) -> Response:
        """The captions in one of the formats of `caption -f`."""
        job = self._job(key)
        if job is None or job.video is None:
            return _gone()
        if kind not in WRITERS:
            return fault(404, f"unknown format {kind[:40]!r}; allowed: {', '.join(WRITERS)}")
        writer = WRITERS[kind]()
        text = await asyncio.to_thread(writer.render, job.video, self.board.about(job))
        text = (writer.head() if writer.shared else "") + text
        stem = "".join(c for c in Path(job.name).stem if c.isascii() and (c.isalnum() or c in "-_")) or "captions"
        headers = {"content-disposition": f'attachment; filename="{stem[:80]}.{writer.suffix}"'}
        return Response(text.encode("utf-8", "backslashreplace"), 200, headers, "text/plain; charset=utf-8")

    async def models(self) -> Response:
        """The captioner that answers here, and what may be asked of it."""
        model = self.board.model
        config = model.config
        about = {"id": model.checkpoint.name, "object": "model", "device": str(model.device)}
        about |= {"styles": list(known_styles(config.styles)), "emotions": list(config.labels)}
        return JSONResponse({"object": "list", "data": [about]})

    async def known_examples(self) -> Response:
        """The examples that come with the program."""
        return JSONResponse({"examples": list(examples()), "addresses": self.limits.addresses})

    async def health(self) -> Response:
        """Whether it answers, and how many videos wait."""
        return JSONResponse({"status": "ok", "version": __version__, "waiting": self.board.waiting})

    async def metrics(self) -> Response:
        """Counters for Prometheus."""
        return Response(self.board.counters.text(), media_type="text/plain; version=0.0.4")

    async def index(self) -> Response:
        """The web app."""
        return FileResponse(WEB / "index.html")


def create_app(model: Any, limits: ServeLimits | None = None) -> Guards:
    """The server around a loaded captioner, as an ASGI application."""
    limits, counters = limits or ServeLimits(), Counters()
    board = JobBoard(model, limits, counters)
    service = Service(board)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        board.start()
        try:
            yield
        finally:
            await asyncio.to_thread(board.close)

    app = FastAPI(
        title="captioner", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None, lifespan=life
    )
    routes: list[tuple[str, str, Any]] = [
        ("POST", "/v1/captions", service.create), ("GET", "/v1/captions/{key}", service.state),
        ("DELETE", "/v1/captions/{key}", service.delete), ("GET", "/v1/captions/{key}/events", service.events),
        ("GET", "/v1/captions/{key}/page", service.page), ("GET", "/v1/captions/{key}/film", service.film),
        ("GET", "/v1/captions/{key}/files/{kind}", service.file), ("GET", "/v1/models", service.models),
        ("GET", "/v1/examples", service.known_examples), ("GET", "/healthz", service.health),
        ("GET", "/metrics", service.metrics),
    ]  # fmt: skip
    for method, path, handler in routes:
        extra = BODY if method == "POST" else None
        app.add_api_route(path, handler, methods=[method], openapi_extra=extra, response_class=Response)
    app.add_exception_handler(RequestRefused, _refused)
    app.add_api_route("/", service.index, methods=["GET"], include_in_schema=False)
    app.add_api_route("/docs", lambda: HTMLResponse(reference_page(app.openapi())), include_in_schema=False)
    app.mount("/web", StaticFiles(directory=WEB))
    for name in ("page.css", "page.js"):  # of `-f html`: the app shows films as those pages do
        show = partial(FileResponse, PAGE_FOLDER / name)
        app.add_api_route(f"/page/{name}", _calling(show), methods=["GET"], include_in_schema=False)
    return Guards(app, limits, counters)


def _calling(make: Callable[[], Response]) -> Callable[[], Response]:
    """A handler without parameters; FastAPI would offer those of the class to requests."""
    return lambda: make()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestRefused)
    return error.answer()


@cache
def examples() -> dict[str, Path]:
    """The example videos by name, in the source tree or where an installation puts them."""
    root = Path(__file__).parents[2]
    folders = (root / "examples", Path(sys.prefix) / "share" / "captioner" / "examples")
    found = next((sorted(folder.glob("*.mp4")) for folder in folders if folder.is_dir()), [])
    return {path.name: path for path in found}


def _plays(job: CaptionJob) -> bool:
    """Whether there is a film to play; a picture is none."""
    return job.duration > 0.1 and (bool(job.address) or Path(job.name).suffix.lower() in VIDEO_SUFFIXES)


def _copy(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)


def _object(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise CaptionerError("the body is no JSON") from None
    if not isinstance(values, dict):
        raise CaptionerError("the body must be a JSON object, as {\"address\": \"https://...\"}")
    return values


def _gone() -> Response:
    return fault(404, "there is no such caption: it was deleted, or the server was started anew")
