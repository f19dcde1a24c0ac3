"""The application: a few fixed paths, each behind the same checks."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.control.messages import Message
from agent.report.html import environment
from agent.web.hosts import is_of_this_page, is_ours
from agent.web.password import SHORTEST, Password
from agent.web.source import Source
from agent.web.view import level, view

TEMPLATES = Path(__file__).parent / "templates"
COOKIE = "recorder_session"
BODY_BYTES, BODY_SECONDS = 4096, 5.0
SLOW_SECONDS = 1.0
"""After a wrong password; the next one is not looked at before."""
MARK_CHARS = 80
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cache-control": b"no-store",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
FILES = {"page.css": "text/css", "style.css": "text/css", "page.js": "text/javascript"}
COMMANDS: dict[str, Message] = {
    "start": {"command": "start"},
    "stop": {"command": "stop"},
    "mark": {"command": "mark"},
    "mute": {"command": "mute", "on": True},
    "unmute": {"command": "mute", "on": False},
}
DONE = {"start": "Started.", "stop": "Stopped.", "mark": "Marked.", "mute": "Muted.", "unmute": "Unmuted."}


class Rules(NamedTuple):
    """Who may do what."""

    hostname: str
    is_open: bool
    """It is reached from beyond this machine: reading wants the password too."""
    allow_control: bool


class Page:
    """The page's answers."""

    def __init__(self, source: Source, password: Password, rules: Rules) -> None:
        self._source, self._password, self._rules = source, password, rules
        self._trying = threading.Lock()
        self._templates = environment(TEMPLATES)
        self._files = {name: self._templates.get_template(name).render().encode() for name in FILES}

    def app(self) -> ASGIApp:
        """Return what a server runs."""
        routes = [
            Route("/", self._guarded(self._page)),
            Route("/now", self._guarded(self._now)),
            Route("/days", self._guarded(self._days)),
            Route("/level", self._guarded(self._level)),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/control", self._control, methods=["POST"]),
            *(Route(f"/{name}", self._file, name=name) for name in FILES),
        ]
        return Checked(Starlette(routes=routes), self._rules.hostname)

    # reading

    def _page(self, request: Request) -> Response:
        return self._shown(request)

    def _shown(self, request: Request, notice: str = "", status: int = 200) -> Response:
        return self._html(
            "page.html",
            status,
            now=view(self._source.status()),
            rows=self._source.days(),
            may_control=self._rules.allow_control,
            is_known=self._is_known(request),
            notice=notice,
        )

    def _now(self, _request: Request) -> Response:
        return self._html("now.html", 200, now=view(self._source.status()))

    def _days(self, _request: Request) -> Response:
        return self._html("all_days.html", 200, rows=self._source.days())

    def _level(self, _request: Request) -> Response:
        said = self._source.level() or {}
        return JSONResponse(level(said.get("level_dbfs"), said.get("microphone")))

    def _file(self, request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        return Response(self._files[name], media_type=FILES[name])

    # the password

    def _guarded(self, answer: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """Let only those read who may: beyond this machine those who know the password."""

        def guarded(request: Request) -> Response:
            if not self._rules.is_open or self._is_known(request):
                return answer(request)
            return self._login_page(401)

        return guarded

    def _is_known(self, request: Request) -> bool:
        return self._password.is_session(request.cookies.get(COOKIE, ""))

    def _login_page(self, status: int, notice: str = "") -> Response:
        is_set = self._password.is_set
        return self._html("login.html", status if is_set else 503, notice=notice, is_set=is_set)

    async def _login(self, request: Request) -> Response:
        if request.method == "GET":
            return await run_in_threadpool(self._login_page, 200)
        typed = (await _form(request)).get("password", "")
        return await run_in_threadpool(self._try, typed)

    def _try(self, typed: str) -> Response:
        """Look at a password; one at a time, and after a wrong one none for a while."""
        if not self._trying.acquire(blocking=False):
            return self._login_page(429, "Somebody else is trying; wait a moment.")
        try:
            if not self._password.is_right(typed):
                time.sleep(SLOW_SECONDS)
                return self._login_page(401, "That is not the password.")
        finally:
            self._trying.release()
        answer = Response(status_code=303, headers={"location": "/"})
        answer.set_cookie(COOKIE, self._password.session(), httponly=True, samesite="strict", path="/")
        return answer

    async def _logout(self, _request: Request) -> Response:
        answer = Response(status_code=303, headers={"location": "/"})
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    # commands

    async def _control(self, request: Request) -> Response:
        if not self._rules.allow_control:
            return PlainTextResponse("this page only shows; see --allow-control\n", 403)
        if not await run_in_threadpool(self._is_known, request):
            return await run_in_threadpool(self._login_page, 401)
        form = await _form(request)
        action = form.get("action", "")
        if action not in COMMANDS:
            return PlainTextResponse("there is no such command\n", 400)
        message = COMMANDS[action] | ({"text": form.get("text", "")[:MARK_CHARS]} if action == "mark" else {})
        return await run_in_threadpool(self._do, request, action, message)

    def _do(self, request: Request, action: str, message: Message) -> Response:
        problem = self._source.command(message)
        return self._shown(request, problem or DONE[action], 200 if problem is None else 409)

    def _html(self, template: str, status: int, **values: Any) -> Response:
        text = self._templates.get_template(template).render(
            hostname=self._rules.hostname, is_open=self._rules.is_open, shortest=SHORTEST, **values
        )
        return Response(text.encode(errors="replace"), status, media_type="text/html; charset=utf-8")


class Checked:
    """Refuses what no page of ours asks, and puts the headers on every answer that keep a browser from more."""

    def __init__(self, app: ASGIApp, hostname: str) -> None:
        self._app, self._hostname = app, hostname

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        hosts = request.headers.getlist("host")

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS.items()]
            await send(message)

        refusal: ASGIApp | None = None
        if len(hosts) != 1 or not is_ours(hosts[0], self._hostname):
            refusal = PlainTextResponse("this is no name of this recorder; use its address\n", 421)
        elif request.method not in {"GET", "HEAD"} and not is_of_this_page(request.headers):
            refusal = PlainTextResponse("commands are taken from this page alone\n", 403)
        await (refusal or self._app)(scope, receive, with_headers)


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a small form that comes whole and in time; nothing for any other."""
    data = bytearray()

    async def read() -> None:
        async for piece in request.stream():
            data.extend(piece)
            if len(data) > BODY_BYTES:
                raise ValueError

    try:
        await asyncio.wait_for(read(), BODY_SECONDS)
        found = parse_qs(data.decode(), max_num_fields=10, keep_blank_values=True)
    except (TimeoutError, ValueError, ClientDisconnect):
        return {}
    return {name: values[-1] for name, values in found.items()}
