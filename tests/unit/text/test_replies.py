import pytest

from opensora.text.caption import tidy_caption
from opensora.text.replies import REFUSED, UNFINISHED, UNREADABLE, answer_of, whole_sentences

ANSWER = "A red chair turns slowly."


@pytest.mark.parametrize(
    "reply",
    [
        ANSWER,
        f"<think>Okay, the user wants a caption. I see a chair, maybe red.</think>\n\n{ANSWER}",
        f"The user wants a caption. I see a chair.\n</think>\n\n{ANSWER}",
        f'```json\n{{"caption": "{ANSWER}"}}\n```',
        f"**Caption:** {ANSWER}",
        f"# Description\n\n{ANSWER}",
        f"{ANSWER}<|im_end|>",
        f"USER: Describe the video. ASSISTANT: {ANSWER}",
        # of the same kinds
        f"{ANSWER}<think>was that short enough?</think>",
        f"<reasoning>a chair</reasoning><answer>{ANSWER}</answer>",
        "<|channel|>analysis<|message|>A chair.<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{ANSWER}<|return|>",
        f"[INST] Describe. [/INST] {ANSWER}</s>",
        f"<|im_start|>user\nDescribe.<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>\n",
        f"### Human: Describe. ### Assistant: {ANSWER}",
        f"{ANSWER}\nUSER: thanks",
        f"Here is the object:\n```\n{{'caption': '{ANSWER}'}}\n```\nHope it helps!",
        f'[{{"description": "{ANSWER}", "objects": ["chair"]}}]',
        f"## Scene\n{ANSWER}",
        f"**Video Caption**: {ANSWER}",
        f"{ANSWER} The background is a",
    ],
)
def test_the_answer_alone_is_the_caption(reply: str) -> None:
    found = answer_of(reply)
    assert (tidy_caption(found.text), found.reason) == (ANSWER, "")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("<think>Okay, the user wants a caption. Let me look at the frames one by", UNFINISHED),
        ("I'm sorry, but I can't assist with that request.", REFUSED),
        ("<think>It looks harmful.</think>I cannot assist with that.", REFUSED),
        ("As an AI language model, I don't have the ability to view videos.", REFUSED),
        ("I apologize, but I am unable to describe this image.", REFUSED),
        ("I\u2019m sorry, I can\u2019t do that", REFUSED),
        ("<|channel|>analysis<|message|>We need a caption, so", UNFINISHED),
        ('```json\n{"caption": "A red chair tu', UNFINISHED),
        ("a man walks into the", UNFINISHED),
        ("USER: Describe the video.", UNFINISHED),
        ('{"objects": [], "count": 3}', UNREADABLE),
    ],
)
def test_what_is_no_answer_has_a_reason(reply: str, reason: str) -> None:
    assert answer_of(reply) == ("", reason)


@pytest.mark.parametrize(
    "text",
    [
        *("I can't help falling in love", "Sorry, we are closed", "a man says: I can see"),
        *("[Music] a man plays", "a < b", "the answer: 42", "Question: who is it?", "{red} chair"),
        *("as an artist, I can't paint", "a dog", "#cats #dogs", "Vitamin a", ""),
        *("the <b>red</b> fox", "He thinks: <3"),
    ],
)
def test_what_a_person_wrote_comes_back(text: str) -> None:
    assert answer_of(text) == (text, "")


def test_of_a_text_cut_off_whole_sentences_stay() -> None:
    assert whole_sentences("A cat. It sleeps in") == "A cat."
    assert whole_sentences("Is it? Yes!") == "Is it? Yes!"
    assert whole_sentences("a cat sleeps in") == ""


@pytest.mark.parametrize("part", ["<think>", "</think>", "**a", '{"', "[[", "# ", "```", "USER: "])
def test_long_hostile_replies_take_no_longer_than_their_length(part: str) -> None:
    assert len(answer_of((part * 100_000)[:100_000]).text) <= 100_000
