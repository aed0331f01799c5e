"""Captions written by a vision-language model of the transformers library.

torch and transformers take seconds to import, which the other captioners do not need: they are
imported when a model is built.
"""

import logging
from collections.abc import Sequence
from typing import Any

from PIL import Image

from opensora.config.registry import CAPTIONERS
from opensora.core.errors import ConfigError, VideoError
from opensora.curation.captions.caption_clips import Captioner, Clip, NoCaption
from opensora.curation.captions.pictures import spread_frames
from opensora.text.replies import UNFINISHED, whole_sentences

log = logging.getLogger(__name__)

PROMPT = "Describe what happens in this video in one or two sentences."


@CAPTIONERS.register_module("transformers")
class TransformersCaptioner(Captioner):
    """Any image-text-to-text model, or a BLIP-like one without a chat.

    A model with a chat template sees `num_frames` frames, spread over the clip, and the prompt. One
    without sees the middle frame, and the prompt as the beginning of its sentence if there is one.

    Args:
        model: folder or hub name.
        prompt: what is asked; None takes a general question in a chat and nothing otherwise.
        num_frames: frames a clip.
        max_new_tokens: longest answer.
        batch_size: clips a forward pass.
        dtype: "fp32", "bf16" or "fp16".
        device: "cpu" or "cuda"; cuda where there is one.

    Raises:
        CheckpointError: no such model.
        ConfigError: a number below 1.
    """

    def __init__(
        self,
        model: str,
        prompt: str | None = None,
        num_frames: int = 4,
        max_new_tokens: int = 80,
        batch_size: int = 4,
        dtype: str = "bf16",
        device: str | None = None,
    ) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        from opensora.models.device import choose_device, parse_dtype
        from opensora.models.text_encoder.vocabulary import check_words
        from opensora.models.weights.folders import resolve_folder
        from opensora.models.weights.pretrained import NO_CODE, load_network, load_parts

        for name, value in (
            ("num_frames", num_frames),
            ("max_new_tokens", max_new_tokens),
            ("batch_size", batch_size),
        ):
            if value < 1:
                raise ConfigError(f"captioner transformers: {name} is {value}; expected 1 or more")
        self._device = choose_device(device)
        folder = resolve_folder(model, kind="captioner")
        self._processor: Any = load_parts(
            lambda: AutoProcessor.from_pretrained(folder, **NO_CODE), folder, kind="captioner"
        )
        check_words(getattr(self._processor, "tokenizer", None), folder, kind="captioner")
        load = AutoModelForImageTextToText.from_pretrained
        options = {"dtype": parse_dtype(dtype), **NO_CODE}
        loaded = load_network(load, folder, kind="captioner", **options)
        self._model = loaded.to(self._device)
        self._is_chat = bool(getattr(self._processor, "chat_template", None))
        self._prompt = prompt if prompt is not None else (PROMPT if self._is_chat else None)
        self._num_frames = num_frames if self._is_chat else 1
        self._max_new_tokens = max_new_tokens
        self._batch_size = batch_size

    def caption(self, clips: Sequence[Clip]) -> list[str | NoCaption]:
        """Describe each clip, or say why its file can not be read.

        Of an answer that was cut off its whole sentences count.
        """
        texts: dict[int, str | NoCaption] = dict.fromkeys(range(len(clips)), "")
        frames: dict[int, list[Image.Image]] = {}
        for k, clip in enumerate(clips):
            try:
                frames[k] = spread_frames(clip.path, self._num_frames)
            except VideoError as error:
                log.warning("caption_clips unreadable id=%s %s", clip.id, error.detail)
                texts[k] = NoCaption(error.reason, error.detail)
        order = list(frames)
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            answers = self._answer([frames[k] for k in batch])
            for k, (text, is_cut) in zip(batch, answers, strict=True):
                texts[k] = self._whole(text) if is_cut else text
        return list(texts.values())

    def _whole(self, text: str) -> str | NoCaption:
        whole = whole_sentences(text)
        if whole:
            return whole
        detail = f"no sentence ended within {self._max_new_tokens} tokens: {text[:60]!r}"
        return NoCaption(UNFINISHED, detail)

    def _answer(self, clips: list[list[Image.Image]]) -> list[tuple[str, bool]]:
        """The text for each clip, and whether it was cut off."""
        # `to` casts the pictures only: tokens are whole numbers
        inputs = self._inputs(clips).to(self._device, dtype=self._model.dtype)
        tokens = self._model.generate(
            **inputs, max_new_tokens=self._max_new_tokens, do_sample=False
        )
        if self._is_chat:  # the answer follows the question
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        ends = self._ends()
        is_cut = [bool(ends) and row[-1] not in ends for row in tokens.tolist()]
        return [(text.strip(), cut) for text, cut in zip(texts, is_cut, strict=True)]

    def _ends(self) -> set[int]:
        """Tokens that follow a finished answer; none where the model names none."""
        config = self._model.generation_config
        ends = config.eos_token_id
        named = ends if isinstance(ends, list) else [ends]
        return (
            {token for token in (*named, config.pad_token_id) if token is not None}
            if ends
            else set()
        )

    def _inputs(self, clips: list[list[Image.Image]]) -> Any:
        if not self._is_chat:
            images = [frames[0] for frames in clips]
            prompts = [self._prompt] * len(images) if self._prompt else None
            return self._processor(images=images, text=prompts, return_tensors="pt")
        chats = [
            [
                {
                    "role": "user",
                    "content": [
                        *({"type": "image", "image": frame} for frame in frames),
                        {"type": "text", "text": self._prompt},
                    ],
                }
            ]
            for frames in clips
        ]
        return self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        )
