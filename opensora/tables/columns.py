"""Columns of every table and their types; names follow the reference's CSV files."""

from dataclasses import dataclass
from enum import Enum

ID = "id"
PATH = "path"
TEXT = "text"  # clean, as a text encoder reads it
CAPTION = "caption"  # tidy, as it was written
STATUS = "status"
DETAIL = "detail"
LICENCE = "licence"
SOURCE_NAME = "source_name"  # of the run's sources, where it has several; `source` is a file
K = "k"  # number of a caption among those of its clip, from 0
NUM_CAPTIONS = "num_captions"  # of a clip, where several are kept
TOKENS = ("prompt_tokens", "completion_tokens")  # that a model behind a server took for a caption
COST = "cost"  # of a caption, by the prices that the run names
CORRECTED = "corrected"  # whether its only caption is one of a table of corrections; where above
NUMBER = "number"  # of a sample among all of its run, from 0 in the order of the prompts
SHARD = "shard"  # of a manifest in partitions: made when it is read, stored in no file
WINDOW = "window"  # first frame of what a latent holds, where that is not always the first
# of what a reader gives: "", or the reason and a sentence for which a row can not be taken
FAULT = "opensora.fault"
OK = "ok"  # the status of a row that goes on
MARK, OUT = "mark", "out"  # of a table of corrections: the clip stays out
NO_VIDEO = "no_video"  # the status of a scene that a table names of a file that is not there

# how tables of others spell two columns; of several in one table the first counts. Open-Sora: path,
# text. Open-Sora-Plan and FastVideo: path, cap. diffusers and datasets: file_name, video, caption.
SPELLINGS = {
    PATH: (PATH, "video_path", "video", "file_name", "media_path", "file"),
    TEXT: (TEXT, CAPTION, "cap", "prompt", "captions"),
}

# types of columns, as Arrow calls them
TEXTS, WHOLE, MEASURE, YES_NO = "string", "int64", "float64", "bool"
# what a sample is made from; the first is named "text" as well
PROMPT, REFERENCE_PATH, MASK_STRATEGY = "prompt", "reference_path", "mask_strategy"

# columns whose cells are text even where they look like numbers; empty cells are ""
STRINGS = frozenset(
    {
        *(ID, PATH, TEXT, STATUS, DETAIL, LICENCE, SOURCE_NAME, "phash", "cmotion"),
        *("kind", "sha256", "codec", "pixel_format", "video_id", "source", "split", "stage"),
        *("reason", PROMPT, REFERENCE_PATH, MASK_STRATEGY, "scorer", MARK),
        *("url", "etag", "host"),
        *(name for names in SPELLINGS.values() for name in names),
        *("bucket_resolution", "bucket_aspect_ratio", "colour", "shape", "direction"),
    }
)
WHOLE_NUMBERS = frozenset(
    {
        *("num_frames", "height", "width", "resolution", "text_len", "rotation", "seed", SHARD),
        *(K, NUM_CAPTIONS, NUMBER, "bytes", *TOKENS),
        *(
            "start_frame",
            "end_frame",
            "source_height",
            "source_width",
            "bucket_frames",
            "bucket_height",
            "bucket_width",
        ),
    }
)
FLAGS = frozenset({"variable_frame_rate", "hdr", "interlaced", "pulldown", "has_audio", CORRECTED})
# what the manifest says of the video that a clip was cut from
FACTS = (
    *("codec", "rotation", "sar"),
    *("variable_frame_rate", "hdr", "interlaced", "pulldown", "has_audio"),
)


class More(Enum):
    """What columns may follow those of a table, besides the texts of STRINGS."""

    NOTHING = "nothing"
    MEASURES = "measures"  # also where a shard has whole numbers only, or no row at all
    ANYTHING = "anything"  # of the type that the whole column has


@dataclass(frozen=True)
class Table:
    """A table's name, the rule that makes it, its columns in order, and what more may follow.

    Of the columns in `optional` each may be there or not, behind the others.
    """

    name: str
    rule: str
    columns: tuple[str, ...]
    more: More = More.NOTHING
    optional: tuple[str, ...] = ()


def type_of(name: str) -> str:
    """The type of a table's own column; what is nothing else is a measure."""
    if name in STRINGS:
        return TEXTS
    if name in WHOLE_NUMBERS:
        return WHOLE
    return YES_NO if name in FLAGS else MEASURE


_SIZE = ("num_frames", "fps", "height", "width", "aspect_ratio", "resolution")
_MARK = (STATUS, DETAIL)

FETCHED = Table(
    "fetched",
    "fetch",
    (PATH, "url", LICENCE, "bytes", "sha256", "etag", "host", *_MARK),
    optional=(TEXT,),
)
VIDEOS = Table(
    "videos",
    "ingest_videos",
    (
        *(ID, PATH, "kind", "sha256", *_SIZE, "duration", "codec", "pixel_format", "rotation"),
        *("source_height", "source_width", "sar", "variable_frame_rate", "hdr"),
        *("interlaced", "pulldown", "has_audio", LICENCE, *_MARK),
    ),
    optional=(SOURCE_NAME,),
)
SCENES = Table(
    "scenes",
    "detect_scenes",
    (
        *(ID, "video_id", PATH, "kind", "sha256", "start", "end", "start_frame", "end_frame"),
        *_MARK,
    ),
)
CLIPS = Table(
    "clips",
    "split_clips",
    (ID, "video_id", PATH, "kind", "source", "start", "end", *_SIZE, "sha256", *_MARK),
)
SCORES = Table("scores", "score_clips", (ID, *_MARK), More.MEASURES)
CAPTIONS = Table(
    "captions",
    "caption_clips",
    (ID, CAPTION, TEXT, "text_len", *_MARK),
    optional=(K, *TOKENS, COST),
)
MANIFEST = Table(
    "manifest",
    "build_manifest",
    (
        *(ID, PATH, TEXT, "num_frames", "width", "height", "aspect_ratio", "resolution"),
        *("text_len", "fps", "source", "start", "end", "sha256", "split"),
    ),
    More.ANYTHING,
)
REJECTED = Table(
    "rejected", "build_manifest", (ID, PATH, "stage", "reason", DETAIL), optional=(SOURCE_NAME,)
)
CORRECTIONS = Table("corrections", "browse", (ID, CAPTION, MARK, DETAIL))
ASSIGNMENT = Table(
    "assignment",
    "assign_buckets",
    (
        *(ID, "bucket_resolution", "bucket_frames", "bucket_aspect_ratio"),
        *("bucket_height", "bucket_width", "reason"),
    ),
)
LEFT_OUT = Table("left_out", "assign_buckets", (ID, "reason"))  # clips in no batch of a plan
SAMPLES = Table(
    "samples", "sample", (ID, PATH, "prompt", "seed", "num_frames", "height", "width", "fps")
)
# of one job of several; the number of each sample is that in the whole table
SAMPLE_PARTS = Table("sample_parts", "sample_part", (NUMBER, *SAMPLES.columns))
