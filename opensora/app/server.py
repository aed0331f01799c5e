"""Serve the page to this machine, and see to it that the page asks no other one."""

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware

from opensora.core.errors import ConfigError

_LOOPBACK = ("127.0.0.1", "localhost")
# the browser itself refuses what is not from this address
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:;"
    " font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_SECONDS_TO_END = 2  # for answers that are under way; those to open pages never end
_LARGEST_UPLOAD = "1gb"


def listen(host: str, port: int) -> socket.socket:
    """Take the address, before anything is loaded.

    Raises:
        ConfigError: it is taken, or none of this machine.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port}: can not be opened ({error.strerror or error}); give"
            " another --port, 0 for a free one"
        ) from error


def serve(page: gr.Blocks, sock: socket.socket, folder: Path) -> None:
    """Serve until the keyboard or a signal ends it.

    Args:
        page: of Gradio.
        sock: that `listen` opened.
        folder: of the samples, the only one that is served.
    """
    host, port = sock.getsockname()[:2]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if host in _LOOPBACK:  # a page elsewhere whose name leads here is not served
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOOPBACK))
    app.add_middleware(_Policy)
    app = gr.mount_gradio_app(
        *(app, page, "/"),
        server_name=host,
        server_port=port,
        footer_links=[],
        run_history=False,
        allowed_paths=[str(folder.absolute())],
        max_file_size=_LARGEST_UPLOAD,
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
    )
    settings = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=_SECONDS_TO_END,
    )
    uvicorn.Server(settings).run(sockets=[sock])


def _theme() -> gr.themes.Base:
    """Fonts of this machine, and colours that can be read: Gradio's own are too pale."""
    theme = gr.themes.Default(
        primary_hue="blue",
        font=[gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")],
        font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")],
    )
    return theme.set(
        **dict.fromkeys(("body_text_color_subdued", "block_info_text_color"), "*neutral_600"),
        **dict.fromkeys(
            ("body_text_color_subdued_dark", "block_info_text_color_dark"), "*neutral_300"
        ),
        **dict.fromkeys(
            ("button_primary_background_fill", "button_primary_background_fill_dark"),
            "*primary_700",
        ),
    )


_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _Policy:
    """Adds the content policy to every answer."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Pass a request on, and its answer back with one header more."""

        async def answer(message: _Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["Referrer-Policy"] = "no-referrer"
            await send(message)

        await self.app(scope, receive, answer)
