"""The built-in demo world: coloured shapes that move, with captions and known truth."""
