"""Captions written by a model behind an OpenAI-compatible server, such as vLLM.

What was answered is kept by the clip's content and by all that was asked, so that nothing is paid
for twice. Clips are asked for side by side; the order of replies changes no byte of the results.
"""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from opensora.config.endpoint import Endpoint
from opensora.config.registry import CAPTIONERS
from opensora.core.errors import ConfigError, PassingError, Stopped, VideoError
from opensora.core.signals import StopSignals
from opensora.core.versions import VERSIONS
from opensora.curation.captions.caption_clips import Captioner, Clip, NoCaption
from opensora.curation.captions.chat import Reply
from opensora.curation.captions.generated import PROMPT
from opensora.curation.captions.pictures import data_url, spread_frames
from opensora.curation.captions.server import NoReply, Server
from opensora.stores.rows import RowStore
from opensora.tables.columns import COST, TOKENS
from opensora.text.replies import REFUSED, UNFINISHED, whole_sentences

log = logging.getLogger(__name__)

FAILED = "caption_failed"
_MANY = 10  # clips without a reply, none with one between them: it is the server and not they
_SAVE_S = 5.0  # between two files of replies: what a killed job pays again at most
_LOOK_S = 0.5
_GRACE_S = 10.0  # for requests under way, once asked to stop
_MILLION = 1_000_000


@CAPTIONERS.register_module("openai")
class OpenAICaptioner(Captioner):
    """A chat model that is sent frames as JPEG and the prompt.

    Args:
        model: as the server calls it.
        endpoint: the server.
        prompt: what is asked; None takes the general question.
        num_frames: frames a clip, spread over it.
        store: folder of replies that are known; None keeps none.
        part: what of the store is looked up, such as a shard; jobs may share one.

    Raises:
        ConfigError: a number below 1, no such variable of the environment, or no such address.
    """

    columns = (*TOKENS, COST)

    def __init__(
        self,
        model: str,
        endpoint: Endpoint,
        prompt: str | None = None,
        num_frames: int = 4,
        store: Path | None = None,
        part: str = "all",
    ) -> None:
        if num_frames < 1:
            raise ConfigError(f"captioner openai: num_frames is {num_frames}; expected 1 or more")
        self._server = Server(endpoint.url, endpoint.key_env, endpoint.timeout_s)
        self._endpoint, self._model, self._num_frames = endpoint, model, num_frames
        self._prompt = PROMPT if prompt is None else prompt
        self.batch = max(self.batch, 4 * endpoint.concurrency)
        asked = {
            **{"model": model, "prompt": self._prompt, "num_frames": num_frames},
            **{"max_side": endpoint.max_side, "request": endpoint.request},
        }
        address = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
        name = f"openai-{VERSIONS['caption_clips']}-{address}"
        self._store = RowStore(store / name, part) if store else None
        self._replies: dict[str, dict[str, Any]] = {}
        self._known = self._in_a_row = 0
        self._last, self._is_down = "", False
        self._saved = time.monotonic()

    def caption(self, clips: Sequence[Clip]) -> list[str | NoCaption]:
        """Describe each clip, or say why there is no text.

        Of an answer that was cut off its whole sentences count.

        Raises:
            ConfigError: the server refuses the key, the model or the address.
            PassingError: the server does not answer.
            Stopped: by a signal; what was answered is kept.
        """
        asked: dict[str, Clip] = {}
        for clip in clips:
            if clip.sha256 not in self._replies and not self._look_up(clip.sha256):
                asked.setdefault(clip.sha256, clip)
        failed: dict[str, NoCaption] = {}
        try:
            self._ask_all(list(asked.values()), failed)
            if self._is_down and not self._replies:
                self._give_up(passing=True)
        finally:
            self._save()
        return [failed.get(clip.sha256) or self._text(clip.sha256) for clip in clips]

    def facts(self, clip: Clip) -> dict[str, Any]:
        """Tokens and cost of the clip's reply, whenever it was made; None where there is none."""
        reply = self._replies.get(clip.sha256)
        if reply is None:
            return dict.fromkeys(self.columns)
        counts = [reply[name] for name in TOKENS]
        prices = self._endpoint.prices
        cost = None if prices is None else round(_cost(counts, prices), 9)
        return dict(zip(self.columns, (*counts, cost), strict=True))

    def remarks(self) -> list[str]:
        """What was asked, what it took, and what was known."""
        sums = [sum(reply[name] for reply in self._replies.values()) for name in TOKENS]
        cost = ""
        if prices := self._endpoint.prices:
            cost = f", cost {_cost(sums, prices):.4f}"
        return [
            f"{len(self._replies)} replies of {self._model} ({self._known} known before):"
            f" {sums[0]:,} + {sums[1]:,} tokens{cost}"
        ]

    def _look_up(self, key: str) -> bool:
        reply = self._store.get(key) if self._store else None
        if reply is not None:
            self._replies[key] = reply
            self._known += 1
        return reply is not None

    def _ask_all(self, clips: list[Clip], failed: dict[str, NoCaption]) -> None:
        """Ask for each clip; `failed` gets the reasons of those without a reply."""
        pool = ThreadPoolExecutor(self._endpoint.concurrency, thread_name_prefix="caption")
        try:
            with StopSignals() as signals:
                asked = {pool.submit(self._ask, clip): clip for clip in clips}
                left: set[Future[Reply]] = set(asked)
                while left:
                    done, left = wait(left, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._take(asked[future], future, failed)
                    if signals.received:
                        self._leave(asked, left, signals.received)
        except BaseException:
            self._server.stop.set()  # ends pauses; requests under way are left to themselves
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _leave(
        self, asked: Mapping["Future[Reply]", Clip], left: set["Future[Reply]"], signal: str
    ) -> None:
        """Keep what is answered soon, for it is paid for, and stop."""
        self._server.stop.set()
        running = {future for future in left if not future.cancel()}
        for future in wait(running, timeout=_GRACE_S).done:
            if future.exception() is None:
                self._take(asked[future], future, {})
        raise Stopped(
            f"caption-clips: stopped by {signal}; replies are kept: run the same command again"
        )

    def _take(self, clip: Clip, future: "Future[Reply]", failed: dict[str, NoCaption]) -> None:
        try:
            reply = future.result()
        except VideoError as error:
            log.warning("caption_clips unreadable id=%s %s", clip.id, error.detail)
            failed[clip.sha256] = NoCaption(error.reason, error.detail)
            return
        except NoReply as error:
            log.warning("caption_clips no reply id=%s %s", clip.id, error.detail)
            status = REFUSED if error.is_refused else FAILED
            failed[clip.sha256] = NoCaption(status, f"{self._model}: {error.detail}")
            if not error.is_refused:
                self._in_a_row, self._last = self._in_a_row + 1, error.detail
                self._is_down = error.passing
                if self._in_a_row >= _MANY:
                    self._give_up(error.passing)
            return
        self._in_a_row = 0
        row = asdict(reply)
        self._replies[clip.sha256] = row
        if self._store:
            self._store.put(clip.sha256, row)
            if time.monotonic() - self._saved > _SAVE_S:
                self._save()

    def _give_up(self, passing: bool) -> None:
        what = (
            f"caption-clips: {self._server.url} gives no reply for {self._in_a_row} clips in a row"
            f" (the last: {self._last})"
        )
        if passing:
            limit = f"timeout_s ({self._server.timeout_s:g})"
            raise PassingError(
                f"{what}; see that a server runs at this url and answers within {limit}; replies so"
                " far are kept: run the same command again"
            )
        raise ConfigError(f"{what}; check model, num_frames and request of captions")

    def _ask(self, clip: Clip) -> Reply:
        pictures = [
            {"type": "image_url", "image_url": {"url": data_url(frame, self._endpoint.max_side)}}
            for frame in spread_frames(clip.path, self._num_frames)
        ]
        content = [*pictures, {"type": "text", "text": self._prompt}]
        body = {
            **{"model": self._model, "messages": [{"role": "user", "content": content}]},
            **self._endpoint.request,
        }
        return self._server.ask(body, clip.sha256)

    def _text(self, key: str) -> str | NoCaption:
        reply = self._replies[key]
        text = reply["text"].strip()
        if reply["ending"] == "content_filter":
            return NoCaption(REFUSED, f"the server's filter ended the reply: {text[:60]!r}")
        if reply["ending"] == "length":
            whole = whole_sentences(text)
            tokens = reply["completion_tokens"]
            detail = f"no sentence ended within {tokens} tokens: {text[:60]!r}"
            return whole or NoCaption(UNFINISHED, detail)
        return text or NoCaption("no_caption", f"the reply of {self._model} is empty")

    def _save(self) -> None:
        if self._store:
            self._store.save()
        self._saved = time.monotonic()


def _cost(tokens: Sequence[int], prices: Sequence[float]) -> float:
    return sum(n * price for n, price in zip(tokens, prices, strict=True)) / _MILLION
