from opensora.encoders.data import differing_bytes, one_word_pairs, one_word_variants

CAPTIONS = ["a red cat", "a blue cat", "a red dog", "the red cat", "a red cat sleeps"]


def test_groups_share_all_words_but_one() -> None:
    groups = {frozenset(CAPTIONS[k] for k in group) for group in one_word_variants(CAPTIONS)}
    assert groups == {
        frozenset({"a red cat", "the red cat"}),
        frozenset({"a red cat", "a blue cat"}),
        frozenset({"a red cat", "a red dog"}),
    }


def test_every_pair_of_a_group_is_listed() -> None:
    assert sorted(one_word_pairs(["a x", "b x", "c x", "c y"])) == [(0, 1), (0, 2), (1, 2), (2, 3)]


def test_places_are_counted_in_bytes() -> None:
    one, other = differing_bytes("één rode kat", "één groene kat")
    assert "één rode kat".encode()[one] == b"rode"
    assert "één groene kat".encode()[other] == b"groene"
