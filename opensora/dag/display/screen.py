"""Where the display writes: lines that stay, and on a terminal one that is drawn over."""

import os
import time
from typing import TextIO

from opensora.dag.display.line import fit_width

_CLEAR = "\r\x1b[2K"
_RED = "\x1b[31m{}\x1b[0m"


class Screen:
    """A stream with one line at its end that does not stay.

    Attributes:
        redraws: whether there is such a line; without, draw() does nothing.
        drawn: when it was drawn last, in seconds since the epoch; 0 for never.
        said: when something that stays was written last.
    """

    def __init__(self, stream: TextIO, *, redraws: bool, colours: bool, silent: bool) -> None:
        self.redraws = redraws
        self.drawn, self.said = 0.0, time.time()
        self._stream, self._colours, self._silent = stream, colours, silent
        self._has_line = False

    def draw(self, text: str) -> None:
        """Put a line in place of the one that was drawn before."""
        if self.redraws:
            self._stream.write(_CLEAR + fit_width(text, self.columns()))
            self._stream.flush()
            self._has_line = True
            self.drawn = time.time()

    def say(self, text: str, *, is_error: bool = False) -> None:
        """Write a line that stays."""
        if self._silent:
            return
        self.wipe()
        self._stream.write((_RED.format(text) if is_error and self._colours else text) + "\n")
        self._stream.flush()
        self.said = time.time()

    def wipe(self, *, foreign: bool = False) -> None:
        """Take away the drawn line.

        Args:
            foreign: also what others may have written there, such as the ^C of a terminal.
        """
        if self._has_line or (foreign and self.redraws):
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._has_line = False

    def columns(self) -> int:
        """Width of the terminal; 80 where it does not say."""
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def hang_up(self) -> None:
        """Nobody reads the stream any more: let all that writes to it end quietly."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
