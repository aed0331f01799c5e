"""The answer within a captioning model's reply.

Such a reply may hold more than the answer: thoughts before it, the turns of a chat, marks at its
end, a fence or an object around it, a heading over it. And it may hold no answer: a refusal, a
thought that was cut off, an object without an end. Text that a person wrote comes back as it is.
"""

import ast
import json
import re
from typing import Any, NamedTuple

REFUSED = "caption_refused"
UNFINISHED = "caption_unfinished"
UNREADABLE = "caption_unreadable"  # an object without a text
_THOUGHT = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
_THOUGHT_BEGINS = re.compile(rf"<{_THOUGHT}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>", re.I)
_THOUGHT_ENDS = re.compile(rf"</{_THOUGHT}\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>", re.I)
_CHANNEL = "<|channel|>"
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.I | re.DOTALL)
_ASKS = re.compile(r"\s*(?:(?:USER|User|Human)|#{1,6} *(?:Human|Question|Instruction)) *: ")
_ASKS_AGAIN = re.compile(r"\s(?:#{1,6} *)?(?:USER|Human) *: |\n(?:#{1,6} *)?(?:User|Question) *: ")
_TURN = re.compile(
    r"<\|im_start\|>|<start_of_turn>|\[/INST\]|<\|assistant\|>|<\|start_header_id\|>"
)
_ANSWERS = re.compile(
    r"(?:\A|\s)(?:#{1,6} *)?(?:ASSISTANT|Assistant|Response|Answer) *: ?"
    r"|\[/INST\]|<\|im_start\|>assistant\b|<start_of_turn>model\b|<\|assistant\|>"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>"
)
_MARK = re.compile(
    r"<\|[\w/-]{1,40}\|>|<\uff5c[^\uff5c<>\n]{1,40}\uff5c>|</s>(?=\s*(?:\Z|<))|\A\s*<s>|<(?:bos|eos|pad|unk)>"
    r"|<(?:end|start)_of_(?:turn|text|utterance)>|\[/?INST\]"
)
_FENCE = re.compile(r"```[ \t]*(?:\w+[ \t]*\n)?(.*?)(?:```|\Z)", re.DOTALL)
_OBJECT_BEGINS = re.compile(r"[\[{]\s*(?:\{\s*)?[\"']")
_TEXT_KEYS = ("caption", "text", "description", "answer", "response", "summary", "cap")
_KIND = r"(?:(?:video|image|clip|short|brief|long|detailed|dense|final|one-sentence) ){0,3}"
_HASHES = "#{1,6} +"
_LABEL = re.compile(
    rf"(?:{_HASHES})?"
    rf"(?:\*\*|__)?{_KIND}(?:caption|description|answer|response|summary)"
    r"(?:\*\*|__)? *(?:: *(?:\*\*|__)? *|(?:\*\*|__)? *\n\s*)",
    re.I,
)
_HEADING = re.compile(rf"{_HASHES}(?:[^\n]*\n\s*(?=\S))?|\*\*[^*\n]{{1,80}}\*\*:? *\n\s*(?=\S)")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*|__([^_\n]+)__")
# how a refusal begins, which alone is none: "Sorry, we are closed" is what a sign says
_REGRET = (
    r"(?:(?:i'm |i am )?(?:very |so |truly )?(?:sorry|afraid)\b|(?:i |my )?apologi[sz]e?s?\b"
    r"|unfortunately\b|as an? (?:ai|artificial|large language|language)\b)[^.!?\n]{0,60}?[,.;: ]+"
    r"(?:but |that )?"
)
_UNABLE = (
    r"i(?:'m| am)? (?:can't|cannot|can not|couldn't|won't|will not|don't|do not|not able to"
    r"|unable to|not allowed to)(?: (?:currently|directly|actually|really|be able to))*\b"
)
_TASK = (
    r" (?:assist|help (?:you|with)|provide|describe|view|analy[sz]e|process|access|fulfill|comply"
    r"|generate|create|identify|determine|have (?:the ability|access|enough))\b"
)
_REFUSAL = re.compile(rf"{_REGRET}(?:{_REGRET})?{_UNABLE}|{_UNABLE}{_TASK}", re.I)
# words that no sentence ends with; fewer words than these are no sentence
_OPEN_ENDS = frozenset({"a", "an", "the", "and", "or", "its", "their", "while", "because", "into"})
_SENTENCE_WORDS = 4
_LAST_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=\S)")


class Reply(NamedTuple):
    """A text, or "" and the reason why there is none: one of the three above."""

    text: str
    reason: str = ""


def answer_of(reply: str) -> Reply:
    """Find the answer.

    Args:
        reply: as the model wrote it, any length.

    Returns:
        The answer alone; or no text and a reason.
    """
    text = _own_turn(_after_thoughts(reply))
    if "```" in text and (fenced := _FENCE.search(text)) is not None and fenced[1].strip():
        text = fenced[1]
    text = text.strip()
    if not text:
        return Reply("", UNFINISHED if reply.strip() else "")
    if _OBJECT_BEGINS.match(text):
        value = _parsed(text)
        if value is None:
            return Reply("", UNFINISHED)
        text = _text_in(value).strip()
        if not text:
            return Reply("", UNREADABLE)
    text = _without_labels(text)
    if _REFUSAL.match(text.replace("\u2019", "'").lstrip("\"' ")):
        return Reply("", REFUSED)
    return _finished(text)


def whole_sentences(text: str) -> str:
    """The beginning of a text up to the end of its last whole sentence; "" where there is none."""
    text = text.rstrip()
    if text.endswith((".", "!", "?")):
        return text
    starts = [found.start() for found in _LAST_SENTENCE.finditer(text)]
    return text[: starts[-1]] if starts else ""


def _after_thoughts(text: str) -> str:
    """What follows the thoughts; "" where they never came to an end."""
    if _CHANNEL in text:
        _, found, last = text.rpartition(f"{_CHANNEL}final<|message|>")
        text = last if found else ""
    if not any(sign in text for sign in "<[◁"):
        return text
    ends = [found.end() for found in _THOUGHT_ENDS.finditer(text)]
    rest = text[ends[-1] :] if ends else text
    if ends and not rest.strip():  # thoughts behind the answer
        rest = text if _THOUGHT_BEGINS.search(text) else ""
    begin = _THOUGHT_BEGINS.search(rest)
    if begin is not None:
        rest = rest[: begin.start()]
    tagged = _ANSWER_TAG.search(rest)
    return tagged[1] if tagged else rest


def _own_turn(text: str) -> str:
    """The first turn of the model in a chat, up to the mark at its end; "" where it has none."""
    if _ASKS.match(text) or _ANSWERS.match(text) or _TURN.search(text):
        starts = (found.end() for found in _ANSWERS.finditer(text))
        text = next((text[start:] for start in starts if text[start:].strip()), "")
    again = _ASKS_AGAIN.search(text)
    if again is not None:
        text = text[: again.start()]
    if "<" not in text and "[" not in text:
        return text
    return next((part for part in _MARK.split(text) if part.strip()), "")


def _parsed(text: str) -> Any:
    """The object or list that a text begins with; the text itself, or None, where it is none."""
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text if text.startswith("[") else None


def _text_in(value: Any, depth: int = 3) -> str:
    """The text of an object by the name of its field, of a list its first; "" without any."""
    if isinstance(value, str):
        return value
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return ""
    if isinstance(value, list):
        return _text_in(value[0], depth - 1)
    by_name = {str(name).lower().replace(" ", "_"): cell for name, cell in value.items()}
    for name in _TEXT_KEYS:
        if name in by_name:
            return _text_in(by_name[name], depth - 1)
    return _text_in(next(iter(value.values())), depth - 1) if len(value) == 1 else ""


def _without_labels(text: str) -> str:
    """Text without a heading or a "Caption:" over it, and without marks of bold type."""
    for _ in range(3):
        found = _LABEL.match(text) or _HEADING.match(text)
        if found is None or found.end() == len(text):
            break
        text = text[found.end() :].lstrip()
    return _BOLD.sub(r"\1\2", text) if "**" in text or "__" in text else text


def _finished(text: str) -> Reply:
    words = text.rsplit(None, _SENTENCE_WORDS)
    if len(words) <= _SENTENCE_WORDS or words[-1] not in _OPEN_ENDS:
        return Reply(text)
    whole = whole_sentences(text)
    return Reply(whole) if whole else Reply("", UNFINISHED)
