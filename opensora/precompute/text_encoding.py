"""How captions become embeddings. Nothing here loads torch."""

from dataclasses import dataclass
from typing import Any

from opensora.config.text_types import TEXT_LENGTHS
from opensora.core.errors import ConfigError
from opensora.core.versions import VERSIONS
from opensora.stores.keys import LABELS, address_of


@dataclass(frozen=True, kw_only=True)
class TextEncoding:
    """How captions become embeddings.

    Attributes:
        kind: one of TEXT_TYPES.
        dtype: "bf16" or "fp32": type of the stored tokens, and of the network on a GPU (on a CPU it
            computes in fp32); labels are int64.
        int8: store whole numbers and a scale per token instead, read back as `dtype`.
        max_length: tokens at which a caption is cut; None of labels.
        num_classes: of labels; None of texts.

    Raises:
        ConfigError: int8 for labels.
    """

    kind: str = "t5"
    dtype: str = "bf16"
    int8: bool = False
    max_length: int | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.int8 and self.are_labels:
            raise ConfigError("--int8 rounds embeddings and class labels are whole; leave it out")

    @property
    def are_labels(self) -> bool:
        """Whether captions are class labels."""
        return self.kind == LABELS

    def address(self, encoder: str) -> str:
        """Where the embeddings of an encoder with this hash stand in the store."""
        own: dict[str, Any] = {"type": self.kind, "encoder": encoder}
        length = self.max_length or TEXT_LENGTHS.get(self.kind)
        own |= {"max_length": length, "num_classes": self.num_classes}
        return address_of({**own, **self._settings()})

    def identity(self, text_encoder: Any) -> dict[str, Any]:
        """What must agree between the embeddings of one training run."""
        identity = {**text_encoder.identity(), **self._settings()}
        length = getattr(text_encoder, "model_max_length", None)
        if length is not None:
            identity["model_max_length"] = int(length)
        most = getattr(text_encoder, "num_tokens", None) or length
        return identity | ({} if most in (None, length) else {"num_tokens": int(most)})

    def _settings(self) -> dict[str, Any]:
        dtype = "int64" if self.are_labels else self.dtype
        own = {"dtype": dtype, "version": VERSIONS["encode_captions"]}
        return own | ({"int8": True} if self.int8 else {})


def check_encoder_options(
    kind: str, *, from_pretrained: str | None, max_length: int | None, num_classes: int | None
) -> None:
    """Refuse what has no effect with a type of encoder, and what it lacks.

    Raises:
        ConfigError: names the option.
    """
    given = {
        "--text-encoder": from_pretrained,
        "--max-length": max_length,
        "--num-classes": num_classes,
    }
    needed = "--num-classes" if kind == LABELS else "--text-encoder"
    allowed = {needed} if kind == LABELS else {needed, "--max-length"}
    for name, value in given.items():
        if value is not None and name not in allowed:
            raise ConfigError(f"{name} {value} has no effect with --type {kind}; leave it out")
    if given[needed] is None:
        raise ConfigError(f"--type {kind} needs {needed}")
    for name in ("--max-length", "--num-classes"):
        value = given[name]
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"{name} {value}: expected at least 1")
