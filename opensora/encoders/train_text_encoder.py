"""Train a tiny byte-level T5 or UMT5 encoder by guessing hidden bytes of captions.

Axes: B captions, L bytes, D channels.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    ByT5Tokenizer,
    T5Config,
    T5EncoderModel,
    UMT5Config,
    UMT5EncoderModel,
)
from transformers.utils.logging import disable_progress_bar

from opensora.core.io import write_json
from opensora.core.process import threads_in_use
from opensora.core.seed import derive_seed
from opensora.encoders.data import differing_bytes, one_word_pairs, read_captions, trained_on
from opensora.encoders.trainer import (
    LoopConfig,
    build_muon,
    fit,
    model_folder,
    refuse_foreign,
    require,
)
from opensora.models.weights.folders import as_trained

log = logging.getLogger(__name__)

_SPACE_ID = ord(" ") + 3  # ByT5 puts three special tokens before the bytes
_NUM_BYTE_IDS = 256 + 3
_HIDDEN_ID = _NUM_BYTE_IDS  # the first of ByT5's sentinel tokens
_MAX_PAIRS = 400  # measured at the end
Encoder = T5EncoderModel | UMT5EncoderModel
_NETWORKS: dict[str, tuple[Any, Any]] = {
    "t5": (T5Config, T5EncoderModel),
    "umt5": (UMT5Config, UMT5EncoderModel),
}


@dataclass(frozen=True, kw_only=True)
class TextEncoderConfig(LoopConfig):
    """Fields of the config file."""

    type: str = "t5"
    """The network, "t5" or "umt5", as the models read that are trained on its embeddings."""
    d_model: int = 96
    """D."""
    d_ff: int = 256
    """Width inside the feed-forward layers."""
    num_layers: int = 2
    """Blocks."""
    num_heads: int = 4
    """Attention heads; each has D / num_heads channels."""
    max_length: int = 64
    """L; longer captions are cut."""
    mask_ratio: float = 0.3
    """Share of single bytes that are hidden, and of whole words on top of them half as much."""
    num_steps: int = 300
    batch_size: int = 64
    lr: float = 0.02
    adamw_lr: float = 2e-3

    def __post_init__(self) -> None:
        """Check single values.

        Raises:
            ConfigError: a value that can not be meant.
        """
        super().__post_init__()
        require(self.type in _NETWORKS, "type", repr(self.type), "'t5' or 'umt5'")
        for name in ("num_heads", "num_layers", "d_ff", "max_length"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        fits = self.d_model >= 1 and self.d_model % self.num_heads == 0
        require(fits, "d_model", self.d_model, f"a multiple of num_heads, {self.num_heads}")
        require(0 < self.mask_ratio < 1, "mask_ratio", self.mask_ratio, "between 0 and 1")


def train_text_encoder(
    config: TextEncoderConfig, captions: Sequence[str | Path], output: str | Path
) -> str:
    """Train on all good captions.

    Args:
        config: see its fields.
        captions: tables of captions.
        output: folder in the transformers format, with metrics.jsonl and words.json.

    Returns:
        The summary line.

    Raises:
        TableError: no caption.
        ConfigError: `output` holds something else.
    """
    refuse_foreign(output)
    texts = read_captions(captions)
    torch.manual_seed(derive_seed(config.seed, "text_encoder"))
    tokenizer = ByT5Tokenizer()
    encoder = build_encoder(config, len(tokenizer))
    metrics = _train(encoder, *tokenize(tokenizer, texts, config.max_length), config)
    report = measure_words(encoder, tokenizer, texts, config.max_length)
    report |= trained_on("captions", texts)
    disable_progress_bar()
    with model_folder(output, metrics) as folder:
        encoder.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        report |= {"threads": threads_in_use(), **as_trained(folder)}
        write_json(folder / "words.json", report)
    return (
        f"guesses {metrics[-1]['accuracy']:.0%} of hidden bytes of {len(texts)} captions after"
        f" {config.num_steps} steps; text encoder in {output}"
    )


def build_encoder(config: TextEncoderConfig, vocab_size: int) -> Encoder:
    """Build the network with random weights."""
    fields, network = _NETWORKS[config.type]
    encoder: Encoder = network(
        fields(
            vocab_size=vocab_size,
            d_model=config.d_model,
            d_kv=config.d_model // config.num_heads,
            d_ff=config.d_ff,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            tokenizer_class="ByT5Tokenizer",
            tie_word_embeddings=False,
        )
    )
    return encoder


def tokenize(tokenizer: ByT5Tokenizer, texts: list[str], max_length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask (1 = token), both int64 [B, L] with L the longest caption's."""
    tokens = tokenizer(
        texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt"
    )
    return tokens["input_ids"], tokens["attention_mask"]


def _train(
    encoder: Encoder, ids: Tensor, mask: Tensor, config: TextEncoderConfig
) -> list[dict[str, Any]]:
    head = nn.Linear(config.d_model, _NUM_BYTE_IDS)  # thrown away at the end
    draw = torch.Generator().manual_seed(derive_seed(config.seed, "text_encoder", "batches"))

    def losses() -> dict[str, Tensor]:
        index = torch.randint(len(ids), (config.batch_size,), generator=draw)
        wanted, attend = ids[index], mask[index]  # [B, L]
        hidden = hide(wanted, config.mask_ratio, draw) & attend.bool()
        shown = wanted.masked_fill(hidden, _HIDDEN_ID)
        states = encoder(input_ids=shown, attention_mask=attend).last_hidden_state  # [B, L, D]
        logits = head(states)
        # visible bytes count as well: every token must still say what it is
        loss = functional.cross_entropy(logits[attend.bool()], wanted[attend.bool()])
        right = (logits.argmax(dim=-1) == wanted)[hidden].float()
        return {"loss": loss, "accuracy": right.mean()}

    matrices = [
        weight
        for name, weight in encoder.get_submodule("encoder.block").named_parameters()
        if weight.ndim == 2 and "relative_attention_bias" not in name
    ]
    encoder.train()
    metrics = fit(
        losses,
        build_muon(
            nn.ModuleList([encoder, head]), matrices, lr=config.lr, adamw_lr=config.adamw_lr
        ),
        num_steps=config.num_steps,
        warmup_steps=config.warmup_steps,
        log_every=config.log_every,
        description="train_text_encoder",
    )
    encoder.eval()
    return metrics


def hide(ids: Tensor, ratio: float, generator: torch.Generator) -> Tensor:
    """Choose single bytes with probability `ratio` and whole words with half of it, bool [B, L]."""
    words = (ids == _SPACE_ID).cumsum(dim=1)  # [B, L], number of the word a byte belongs to
    by_word = torch.rand(ids.shape, generator=generator).gather(1, words) < ratio / 2
    return by_word | (torch.rand(ids.shape, generator=generator) < ratio)


@torch.no_grad()
def measure_words(
    encoder: Encoder, tokenizer: ByT5Tokenizer, texts: list[str], max_length: int
) -> dict[str, Any]:
    """Compare captions that differ in one word.

    Returns:
        num_pairs, and cosines, 1 = not told apart: `caption_*` of the means over all bytes, after
        the mean over captions is taken off; `word_*` of the means over the bytes of the one word.
    """
    ids, mask = tokenize(tokenizer, texts, max_length)
    states = torch.cat(
        [
            encoder(input_ids=part, attention_mask=attend).last_hidden_state
            for part, attend in zip(ids.split(256), mask.split(256), strict=True)
        ]
    )  # [B, L, D]
    pooled = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)  # [B, D]
    pooled = pooled - pooled.mean(dim=0)
    pairs = one_word_pairs(texts)
    pairs = pairs[:: max(1, len(pairs) // _MAX_PAIRS)]
    captions, words = [], []
    for one, other in pairs:
        captions.append(float(functional.cosine_similarity(pooled[one], pooled[other], dim=0)))
        places = differing_bytes(texts[one], texts[other])
        if max(place.stop for place in places) > max_length:
            continue
        first, second = (
            states[k, place].mean(dim=0) for k, place in zip((one, other), places, strict=True)
        )
        words.append(float(functional.cosine_similarity(first, second, dim=0)))
    return {"num_pairs": len(pairs), **_summary("caption", captions), **_summary("word", words)}


def _summary(name: str, values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {
        f"{name}_cosine_mean": round(sum(values) / len(values), 4),
        f"{name}_cosine_max": round(max(values), 4),
    }
