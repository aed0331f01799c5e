import pytest

from opensora.text.caption import detect_language, known_languages


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a small blue square in front of mountains drifts left", "en"),
        ("ein roter kreis bewegt sich nach rechts", "de"),
        ("красный круг движется", "ru"),
    ],
)
def test_sentences_are_recognised_surely(text: str, code: str) -> None:
    found = detect_language(text)
    assert found.code == code
    assert found.probability > 0.8
    assert code in known_languages()


def test_a_single_word_is_not_sure() -> None:
    assert detect_language("dog").probability < 0.2
