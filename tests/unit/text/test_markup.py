import random

import pytest
from bs4 import BeautifulSoup
from bs4.exceptions import ParserRejectedMarkup

from opensora.text.markup import without_markup

PARTS = (
    *("<b>", "</b>", "<br/>", "<BR>", "<a href='x y'>", "<p", "</p", "<", ">", "< b>", "</>"),
    *("<b c='d>", "<input disabled>", "<svg:x>", "<b<i>", "<li>", "<pre>", "<rt>r</rt>", "<!-- c"),
    *("<script>x</script>", "&amp;", "&amp", "&", "&x;", "&eacute;", "&lt;", "&nbsp;", "&a-b "),
    *(
        "&#39;",
        "&#x27;",
        "&#128;",
        "&#55296;",
        "&#9731;",
        "&#39",
        "&#0;",
        " ",
        "\n",
        "\t",
        "é",
        "word",
    ),
)


def test_text_is_what_a_whole_parser_finds() -> None:
    draw = random.Random(2)
    compared = 0
    for _ in range(3_000):
        markup = "".join(draw.choices(PARTS, k=draw.randint(1, 8)))
        if not markup.strip():  # the parser makes one blank of several
            continue
        try:
            expected = BeautifulSoup(markup, features="html.parser").text
        except ParserRejectedMarkup:
            expected = markup
        assert (markup, without_markup(markup)) == (markup, expected)
        compared += 1
    assert compared > 2_500


@pytest.mark.parametrize("text", ["a < b", "a > b", "tom & jerry", "<3", "a <![cat> b", ""])
def test_lone_signs_are_no_markup(text: str) -> None:
    assert without_markup(text) == text
