"""`opensora app`: try prompts in the browser."""

import argparse
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from opensora.core.arguments import count, port

HELP = (
    "Open a page that samples a prompt with one or several checkpoints of a run, side by side; only"
    " this machine can open it, and it calls no other one."
)
EXAMPLE = "opensora app results/demo"
TAKES_OVERRIDES = True
TAKES_THREADS = True
# read where the libraries are imported
QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; every other field of the sampling config is an option as well."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="results/NAME of a run")
    parser.add_argument("--config", metavar="FILE", help="sampling config; that of the run")
    parser.add_argument("--ckpt-path", nargs="+", metavar="PATH", help="more weights to choose")
    parser.add_argument("--vae", metavar="DIR", help="folder of the VAE; that of the run")
    parser.add_argument("--text-encoder", metavar="DIR", help="of the texts; that of the run")
    parser.add_argument(
        "--save-dir", default="mine/app", metavar="DIR", help="of the samples (default: mine/app)"
    )
    parser.add_argument(
        "--batch-size", type=count, default=1, help="samples per forward (default: 1)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument("--port", type=port, default=7860, help="0 for any (default: 7860)")
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")


def run(args: argparse.Namespace) -> str:
    """Serve the page until it is ended; returns the summary line."""
    from opensora.core.errors import ConfigError, missing
    from opensora.core.log import say

    os.environ.update(QUIET)
    try:
        from opensora.app.page import build_page
        from opensora.app.server import listen, serve
    except ImportError as error:
        raise ConfigError(
            f"the page needs gradio ({error}); pip install 'opensora[app]', or in a checkout"
            " .venv/bin/pip install --no-deps -r requirements/app.txt"
        ) from error
    from opensora.app.parts import Parts, check_weights, named, parts_of_run, read_form_config
    from opensora.app.studio import Studio
    from opensora.models.device import choose_device

    parts = parts_of_run(Path(args.run)) if args.run else Parts()
    config_path = args.config or parts.config
    if config_path is None:
        raise missing(
            "there is nothing to sample with; name a run or give --config", args.overrides
        )
    options = [*parts.options, "--batch-size", str(args.batch_size)]
    for name in ("vae", "text_encoder"):
        if getattr(args, name):
            options += [f"--{name}", getattr(args, name)]
    save_dir = Path(args.save_dir)
    config = read_form_config(Path(config_path), [*options, *args.overrides], save_dir)
    checkpoints = {**parts.checkpoints, **named(args.ckpt_path or ())}
    check_weights(config, checkpoints)
    device = choose_device(args.device)
    sock = listen(args.host, args.port)
    host, port = sock.getsockname()[:2]
    with tempfile.TemporaryDirectory(prefix="opensora-app-") as scratch:
        os.environ["GRADIO_TEMP_DIR"] = scratch  # for uploads and pictures that are shown
        page = build_page(Studio(config, checkpoints, save_dir, device))
        say(f"app: http://{host}:{port}\n")
        with suppress(KeyboardInterrupt):
            serve(page, sock, save_dir)
    return f"closed samples={sum(1 for _ in save_dir.glob('*/*.json'))} folder={save_dir}"
