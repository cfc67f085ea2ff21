"""From the command to a server that answers: a free port first, then the model, then requests until Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import captioner
from captioner.errors import CaptionerError, ConfigError
from captioner.serve.memory import share_arenas
from captioner.serve.serve_limits import LOOPBACK, ServeLimits

if TYPE_CHECKING:
    from captioner.output.arguments import Options

log = logging.getLogger("captioner.cli")

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


def serve(options: Options) -> int:
    """Serve until somebody ends it; the exit code."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise ConfigError(f"--serve needs {', '.join(lacking)}: pip install 'captioner[serve]'")
    import uvicorn

    from captioner.output.progress import loading
    from captioner.serve.api import create_app

    limits = limits_of(options)
    share_arenas()
    with taken_port(options.host, options.port) as port:
        # In a thread that ends: OpenMP keeps workers for each thread that computes, and two such teams get into each
        # other's way (5 s of 720p on two cores: 1.5 s instead of 1.05).
        with loading(options.model, options.quiet), ThreadPoolExecutor(1) as aside:
            model = aside.submit(opened, options).result()
        host = f"[{options.host}]" if ":" in options.host else options.host
        token = f"/?token={limits.token}" if limits.token else ""
        address = f"http://{host}:{port.getsockname()[1]}{token}"
        log.info("device: %s", model.device)
        print(f"captioner serves at {address} (Ctrl-C ends it)", flush=True)
        config = uvicorn.Config(
            create_app(model, limits), log_level="warning", access_log=False, timeout_graceful_shutdown=2,
            timeout_keep_alive=30, server_header=False, lifespan="on",
        )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn hands on what ended it
            uvicorn.Server(config).run(sockets=[port])
    log.info("stopped; uploads are deleted")
    return 0


def opened(options: Options) -> Any:
    """The captioner, ready for its first video."""
    model = captioner.load(options.model, device=options.device, offline=options.offline, faces=options.faces)
    warm_up(model)
    return model


def warm_up(model: Any) -> None:
    """Have everything loaded that a first caption needs, so that the first user does not wait for it."""
    import numpy as np

    list(model.each([np.zeros((2, 64, 64, 3), np.uint8)], batch=1))


def limits_of(options: Options) -> ServeLimits:
    """The limits of a server; one that other machines reach has a token, the one of CAPTIONER_TOKEN or a new one."""
    local = options.host in LOOPBACK
    token = os.environ.get("CAPTIONER_TOKEN", "") or ("" if local else secrets.token_urlsafe(16))
    size = options.max_mb * 1_000_000
    return ServeLimits(upload=size, token=token, addresses=not options.offline, hosts=LOOPBACK if local else ())


def taken_port(host: str, port: int) -> socket.socket:
    """A socket that listens there."""
    try:
        kind, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(kind, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(where)
        found.listen(128)
    except OSError as error:
        in_use = isinstance(error, OSError) and "in use" in str(error)
        what = "is in use: give another with --port" if in_use else f"cannot be opened: {error.strerror or error}"
        raise CaptionerError(f"port {port} of {host} {what}") from None
    return found
