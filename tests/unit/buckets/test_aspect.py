import pytest

from opensora.buckets.aspect import RESOLUTIONS, closest_ratio, get_resolution, get_size
from opensora.core.errors import ConfigError

DEMO = ("24px", "32px", "48px")


@pytest.mark.parametrize("version", ["v1.1.0", "v1.2.0"])
def test_every_table_of_the_reference_is_there_in_its_order(reference, version):
    for name, table in reference("aspects")[version].items():
        ours = RESOLUTIONS[name]
        assert ours.num_pixels == table["num_pixels"]
        assert list(ours.sizes) == list(table["ratios"])
        assert {key: list(size) for key, size in ours.sizes.items()} == table["ratios"]


def test_the_nearest_ratio_is_the_reference_s(reference):
    rows = reference("aspects")["closest_ratio"]["rows"]
    assert [closest_ratio(name, h, w) for name, h, w, _ in rows] == [row[3] for row in rows]


@pytest.mark.parametrize("name", DEMO)
def test_demo_sizes_suit_the_demo_autoencoder_and_keep_their_area(name):
    table = RESOLUTIONS[name]
    for key, (height, width) in table.sizes.items():
        assert height % 4 == width % 4 == 0
        assert abs(height * width / table.num_pixels - 1) < 0.12
        assert height / width == pytest.approx(float(key), rel=0.05)
    assert list(table.ratios) == sorted(table.ratios)


def test_named_ratios_mean_what_the_reference_says(reference):
    for name, key in reference("aspects")["ratio_names"].items():
        if name != "50:27":  # 1.85, which the reference calls 2.08
            assert get_size("720p", name) == get_size("720p", key), name


def test_a_ratio_may_be_a_number():
    assert get_size("32px", 9 / 16) == (24, 40)
    assert get_size("256", "9:16") == (192, 336)  # 0.5625 is nearest to 0.57


def test_an_unknown_resolution_names_the_nearest_and_the_file():
    with pytest.raises(ConfigError, match=r"'250p'; did you mean '240p'\?.*buckets/aspect\.py"):
        get_resolution("250p")
    with pytest.raises(ConfigError, match="did you mean '720p'"):
        get_resolution("720")
    with pytest.raises(ConfigError, match="did you mean '2k'"):
        get_resolution("k")


@pytest.mark.parametrize("ratio", ["wide", "0:9", "1:0", "-"])
def test_an_unknown_ratio_is_a_config_error(ratio):
    if ratio == "0:9":
        assert get_size("32px", ratio) == (24, 40)  # the flattest there is
    else:
        with pytest.raises(ConfigError, match="aspect ratio"):
            get_size("32px", ratio)


def test_an_exact_size_is_a_table_of_one_shape():
    table = get_resolution("256x384")
    assert (table.num_pixels, table.sizes) == (256 * 384, {"0.67": (256, 384)})
    assert table.is_fixed
    assert get_size("256x384", "0.67") == (256, 384)
    assert get_size("256x384", "9:16") == (256, 384)
    assert not get_resolution("256").is_fixed


@pytest.mark.parametrize("name", ["256x", "x256", "0x256", "256x256x3", "-1x4", "256 x 256"])
def test_half_an_exact_size_is_an_unknown_resolution(name):
    with pytest.raises(ConfigError, match=r"unknown resolution.*an exact size such as 256x384"):
        get_resolution(name)


def test_a_table_wants_four_fifths_of_its_pixels():
    assert get_resolution("32px").min_pixels == pytest.approx(0.8 * 1024)
