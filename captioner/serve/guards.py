"""What stands before the server's routes: who may ask, how much may come, and what answers say of themselves."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import SimpleCookie
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from starlette.responses import JSONResponse, RedirectResponse, Response

from captioner.serve.counters import Counters
from captioner.serve.serve_limits import ServeLimits

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "captioner_token"
SLACK = 1_000_000  # bytes of a form beside its video
_OPEN = ("/healthz",)  # for who watches over machines
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=()", "cross-origin-opener-policy": "same-origin",
}  # fmt: skip


class RequestRefused(Exception):
    """A request that comes too large or too slowly; the application answers what it says."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(told)
        self.status = status

    def answer(self) -> Response:
        """What to send."""
        return fault(self.status, str(self), connection="close")


def fault(status: int, told: str, **headers: str) -> Response:
    """An answer that says in one line what is wrong."""
    return JSONResponse({"error": told}, status, headers)


class Guards:
    """An ASGI application around another."""

    def __init__(self, app: App, limits: ServeLimits, counters: Counters) -> None:
        self.app, self.limits, self.counters = app, limits, counters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        answer = self._refusal(scope, headers)
        if answer is not None:
            if answer.status_code >= 400:
                self.counters.refused.labels(answer.status_code).inc()
            await answer(scope, receive, _with_headers(send))
            return
        await self._bounded(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        """What to answer instead of the application; None where it may answer itself."""
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if self.limits.hosts and name not in self.limits.hosts:  # a page elsewhere that calls itself this machine
            return fault(421, f"this server is not called {name[:80]!r}")
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != host:
            return fault(403, "requests from pages of other servers are refused")
        if self.limits.token and scope["path"] not in _OPEN and (answer := self._without_token(scope, headers)):
            return answer
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.limits.upload + SLACK:
            return fault(413, f"at most {self.limits.upload / 1e6:.0f} MB are taken", connection="close")
        return None

    def _without_token(self, scope: Scope, headers: dict[str, str]) -> Response | None:
        """None for a request that carries the token; one that carries it in its address gets it as a cookie."""
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "GET" and self._right(asked):
            answer = RedirectResponse(scope["path"], 303)
            answer.set_cookie(COOKIE, self.limits.token, httponly=True, samesite="strict")
            return answer
        given = headers.get("authorization", "").removeprefix("Bearer ")
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        if self._right(given) or (cookie and self._right(cookie.value)):
            return None
        told = "a token is needed: open the address that the server printed, or send Authorization: Bearer TOKEN"
        return fault(401, told, **{"www-authenticate": "Bearer"})

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.limits.token.encode())

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's answer; to it, a body that grows too large or stalls is `RequestRefused`."""
        count, more = 0, True

        def refused(status: int, told: str) -> RequestRefused:
            self.counters.refused.labels(status).inc()
            return RequestRefused(status, told)

        async def counted() -> Message:
            nonlocal count, more
            try:
                message = await asyncio.wait_for(receive(), self.limits.stall if more else None)
            except TimeoutError:
                raise refused(408, f"nothing came for {self.limits.stall:.0f} s") from None
            count += len(message.get("body", b""))
            more = bool(message.get("more_body"))
            if count > self.limits.upload + SLACK:
                raise refused(413, f"at most {self.limits.upload / 1e6:.0f} MB are taken")
            return message

        await self.app(scope, counted, _with_headers(send))


def _with_headers(send: Send) -> Send:
    """The same, every answer with the headers that keep a browser careful."""

    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *own]}
        await send(message)

    return careful
