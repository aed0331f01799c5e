"""Interlaced pictures: found by what they show, and one whole picture made of each.

A frame of two fields is two moments woven row by row, and shows combs where something moves. Flags
tell little: whole pictures travel in streams that call themselves interlaced, and captures of true
fields in files that do not. So a file is interlaced where frames show combs *and* the order of the
fields can be told from their neighbours (as FFmpeg's `idet` does); for frames without a flag more
combs are asked for, as text that scrolls fools `idet`. Film in fields (3:2 pulldown) has combs in
two of five frames. In such a file every frame with combs goes through `bwdif`, the others stay.
"""
