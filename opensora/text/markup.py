"""The text of a caption that came out of a web page."""

import re
import warnings
from html.parser import HTMLParser

from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning
from bs4.dammit import EntitySubstitution
from bs4.exceptions import ParserRejectedMarkup

# a caption such as ".hidden" is still a caption, not a file name handed over by mistake
warnings.filterwarnings("ignore", category=MarkupResemblesLocatorWarning)
_REFERENCE = re.compile(r"&(?:[a-zA-Z#]|\Z)")
# what has rules of its own: comments, references cut short, elements whose text is none
_SPECIAL = re.compile(
    r"&#(?!(?:\d{2,5}|x[\da-f]{2,4});)|<[!?]|<(?:script|style|template|rt|rp|pre|textarea|title|plaintext|xmp|iframe|no\w+)\b",
    re.IGNORECASE,
)
_BLANKS = " \n\t\f\r"


def without_markup(text: str) -> str:
    """Text without tags, comments, scripts and styles; character references are resolved.

    Where no tag ends there is none: a lone `<` is a sign. Markup that no parser takes stays.
    """
    has_tag = "<" in text and ">" in text
    if not has_tag and ("&" not in text or _REFERENCE.search(text) is None):
        return text
    if _SPECIAL.search(text) is None:
        plain = _Text(text)
        if not plain.is_odd:
            return plain.found
    try:
        return BeautifulSoup(text, features="html.parser").text
    except (ParserRejectedMarkup, UnicodeEncodeError):  # the latter: half a surrogate pair
        return text


class _Text(HTMLParser):
    """What BeautifulSoup makes of plain tags and named references, without building a tree."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=False)
        self.is_odd = False  # a number stands for no plain character
        self._parts: list[str] = []
        self._run: list[str] = []  # since the last tag
        self.feed(markup)
        self.close()
        self._end_run()
        self.found = "".join(self._parts)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """A tag ends a run of text."""
        self._end_run()

    def handle_endtag(self, tag: str) -> None:
        """A tag ends a run of text."""
        self._end_run()

    def handle_data(self, data: str) -> None:
        """Text."""
        self._run.append(data)

    def handle_charref(self, name: str) -> None:
        """A reference such as &#39; or &#x27;."""
        number = int(name[1:], 16) if name[0] in "xX" else int(name)
        if not (0x20 <= number < 0x7F or 0xA0 <= number < 0xD800):
            self.is_odd = True
        else:
            self._run.append(chr(number))

    def handle_entityref(self, name: str) -> None:
        """A reference such as &amp;; an unknown one is text."""
        known = EntitySubstitution.HTML_ENTITY_TO_CHARACTER
        self._run.append(known.get(name) or f"&{name}")

    def _end_run(self) -> None:
        text = "".join(self._run)
        if not text.strip(_BLANKS):  # nothing but blanks is one
            text = ("\n" if "\n" in text else " ") if text else ""
        self._parts.append(text)
        self._run.clear()
