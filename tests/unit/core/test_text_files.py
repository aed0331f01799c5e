from pathlib import Path

import pytest

from opensora.core.text_files import TextEncodingError, read_text

TEXT = "A café chair\u2019s red leg turns slowly."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_tells_the_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT.encode(encoding))
    assert read_text(tmp_path / "a.txt") == TEXT


def test_big_endian_text_with_a_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert read_text(tmp_path / "a.txt") == TEXT


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (TEXT.encode("cp1252"), "byte 5 is not UTF-8; it looks like CP1252"),
        (b"\xef\xbb\xbfab\xff", "byte 5 is not UTF-8, as its mark says"),
        (TEXT.encode("utf-16-le"), "byte 1 is 0; it looks like UTF-16 without a mark"),
        (b"\xff\xfea\0b", "byte 4 is not UTF-16, as its mark says"),
        ("一只猫在走路".encode("gb18030"), "it looks like an encoding of two bytes a sign"),
        (b"a cat\0", "byte 5 is 0; save it in UTF-8"),
    ],
)
def test_other_bytes_are_a_reason_that_names_file_byte_and_encoding(
    tmp_path: Path, data: bytes, said: str
) -> None:
    (tmp_path / "a.txt").write_bytes(data)
    with pytest.raises(TextEncodingError) as told:
        read_text(tmp_path / "a.txt")
    assert str(told.value).startswith(f"{tmp_path / 'a.txt'}: byte ")
    assert said in str(told.value)
