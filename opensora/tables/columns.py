"""Columns of every table; names follow the reference's CSV files."""

from dataclasses import dataclass

ID = "id"
PATH = "path"
TEXT = "text"
STATUS = "status"
DETAIL = "detail"
LICENCE = "licence"
OK = "ok"  # the status of a row that goes on
NO_VIDEO = "no_video"  # the status of a scene that a table names of a file that is not there

# how tables of others spell two columns; of several in one table the first counts. Open-Sora: path,
# text. Open-Sora-Plan and FastVideo: path, cap. diffusers and datasets: file_name, video, caption.
SPELLINGS = {
    PATH: (PATH, "video_path", "video", "file_name", "media_path", "file"),
    TEXT: (TEXT, "caption", "cap", "prompt", "captions"),
}

# columns whose cells are text even where they look like numbers; empty cells are ""
STRINGS = frozenset(
    {
        *(ID, PATH, TEXT, STATUS, DETAIL, LICENCE, "phash", "cmotion"),
        *("kind", "sha256", "codec", "pixel_format", "video_id", "source", "split", "stage"),
        *("reason", "prompt"),
        *(name for names in SPELLINGS.values() for name in names),
        *("bucket_resolution", "bucket_aspect_ratio", "colour", "shape", "direction"),
    }
)


@dataclass(frozen=True)
class Table:
    """A table's name, the rule that makes it, its columns in order, and whether more may follow."""

    name: str
    rule: str
    columns: tuple[str, ...]
    open_ended: bool = False


_SIZE = ("num_frames", "fps", "height", "width", "aspect_ratio", "resolution")
_MARK = (STATUS, DETAIL)

VIDEOS = Table(
    "videos",
    "ingest_videos",
    (
        *(ID, PATH, "kind", "sha256", *_SIZE, "duration", "codec", "pixel_format", "rotation"),
        *("variable_frame_rate", "hdr", LICENCE, *_MARK),
    ),
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
SCORES = Table("scores", "score_clips", (ID, *_MARK), open_ended=True)
CAPTIONS = Table("captions", "caption_clips", (ID, TEXT, "text_len", *_MARK))
MANIFEST = Table(
    "manifest",
    "build_manifest",
    (
        *(ID, PATH, TEXT, "num_frames", "width", "height", "aspect_ratio", "resolution"),
        *("text_len", "fps", "source", "start", "end", "sha256", "split"),
    ),
    open_ended=True,
)
REJECTED = Table("rejected", "build_manifest", (ID, PATH, "stage", "reason", DETAIL))
ASSIGNMENT = Table(
    "assignment",
    "assign_buckets",
    (
        *(ID, "bucket_resolution", "bucket_frames", "bucket_aspect_ratio"),
        *("bucket_height", "bucket_width", "reason"),
    ),
)
SAMPLES = Table(
    "samples", "sample", (ID, PATH, "prompt", "seed", "num_frames", "height", "width", "fps")
)
