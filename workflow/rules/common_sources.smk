"""Where the videos of each shard come from, and how their source is curated."""

from opensora.config.sources import given_rates
from opensora.core.errors import TableError
from opensora.dag.listing import keep_listing, read_listing
from opensora.config.run_sources import fetched_sources, files_below, rules_of_sources

SHARD_LISTING = f"{STORE}/shards.jsonl"  # of which shard each file is
IMPORTED = f"{RUN}/imported"  # ready clips of sources, before they join the others
RATES = given_rates(config["sources"])


def source_of(wildcards):
    """The source of a shard."""
    return SOURCES[int(wildcards.shard) // config["num_shards"]]


def own_shard(wildcards):
    """The number of a shard among those of its source."""
    return int(wildcards.shard) % config["num_shards"]


def of_source(field):
    """A setting of the source of a job, as an identity takes it: as ever where there is one."""
    if not config["sources"]:
        return config[field]
    return {field: lambda wildcards: source_of(wildcards)[field]}


def from_source(field, name):
    """One value of such a setting, as a parameter."""
    return lambda wildcards: source_of(wildcards)[field][name]


def ingested_as(wildcards):
    """What the videos of a source are called; nothing where it has no name."""
    source = source_of(wildcards)
    return {"source_name": source["name"], "licence": source.get("licence")}


def videos(source):
    """What a source reads: the demo world, what is fetched, or the user's folders, globs, lists."""
    if source.get("fetch"):
        return [fetched_table(source["name"])]
    return [f"{DEMO}/videos"] if config["demo"] else source["videos"]


def video_files(wildcards):
    """The part of them that exists as a path; a glob is expanded by ingest itself."""
    source = source_of(wildcards)
    given = [path for path in videos(source) if not any(mark in path for mark in "*?[")]
    # a folder's own time changes with every file in it; the listing tells whose shard it is
    return (
        given if made_here(source) else [ancient(name) for name in plain_names(given)]
    )


def made_here(source):
    """Whether a job of the run makes what the source reads, so that its files are not known yet."""
    return config["demo"] or bool(source.get("fetch"))


def fetched_table(name):
    """What became of each address of a source."""
    return f"{RUN}/fetched/{name}.parquet"


def listings(source, beside=()):
    """Names the files of each shard of a source, or those beside them.

    Those that a job makes are not known yet.
    """
    if made_here(source):
        return [""] * config["num_shards"]
    name = "-".join(filter(None, ["beside" if beside else "files", source["name"]]))
    known = Path(f"{RUN}/listing/{name}.json")
    given = [videos(source), config["num_shards"], list(beside)]
    if not workflow.is_main_process:  # a job reads what the run has found
        hashes = read_listing(known, given)
        if hashes:
            return [f"files {found}" for found in hashes]
    # takes a second to load, so only where it is needed
    from opensora.curation.ingest.discovery import shard_listings

    try:
        found = shard_listings(
            videos(source),
            config["num_shards"],
            beside=beside,
            listing=Path(SHARD_LISTING),
        )
    except TableError as error:
        raise WorkflowError(str(error))
    hashes = [shard.hash for shard in found]
    if workflow.is_main_process:
        keep_listing(known, given, hashes, max(shard.bytes for shard in found))
    return [f"files {found}" for found in hashes]


def sidecars(source):
    """Caption tables; of a list of addresses the list has the captions, where no other is named."""
    captions = source["captions"]
    if source.get("fetch") and captions["captioner"] == "sidecar":
        return captions["sidecar"] or videos(source)
    return [f"{DEMO}/captions.csv"] if config["demo"] else captions["sidecar"]


def beside_files(source):
    """Names the captions beside the videos of each shard of a source, where it reads them."""
    reads = source["captions"]["captioner"] == "sidecar" and not sidecars(source)
    return listings(source, [".txt", ".json"]) if reads else [""] * config["num_shards"]


def ready_tables(name):
    """Tables of ready clips, which small encoders learn from besides those that are cut."""
    return [f"{IMPORTED}/{source['name']}/{name}.parquet" for source in READY]


def learned_tables(name):
    """All tables that small encoders learn from, as words of a command."""
    cut = every_shard(name)
    return [*([cut] if cut else []), *ready_tables(name)]


def largest_validation():
    """The share of videos that the VAE keeps apart: what any source holds out is among them."""
    return max(source["validation_fraction"] for source in SOURCES)


def ready_indexes():
    """What build_manifest reads of sources of ready clips."""
    files = ("manifest/index.json", "rejected.csv", "funnel.json")
    return [f"{IMPORTED}/{source['name']}/{file}" for source in READY for file in files]


def clip_form(clips):
    """How clips are written, as options."""
    sound = options(audio=clips.get("audio"))
    if clips["mode"] == "copy":
        return ["--mode", "copy", *sound]
    return [*options(fps=clips["fps"], short_side=clips["short_side"]), *sound]


def scenes_are(given):
    """Whether a source has a table of scenes ("given"), or is searched for cuts ("found")."""
    return any(kind == given for kind in _scenes())


def scene_shards(given):
    """The shards whose scenes a table tells, or those that are searched for cuts, as a pattern."""
    kinds = _scenes()
    if len(set(kinds)) < 2:
        return r"\d{4}"
    of_shard = [kinds[int(shard) // config["num_shards"]] for shard in VIDEO_SHARDS]
    return "|".join(
        shard for shard, kind in zip(VIDEO_SHARDS, of_shard) if kind == given
    )


def _scenes():
    return [
        "given" if source["scenes"]["table"] else "found"
        for source in SOURCES
        if source not in READY
    ]


def watched_layout(name):
    """Ready clips as an input: a table is watched itself, of a folder the files in it."""
    names = plain_names([name])
    return ancient(names) if Path(name).is_dir() else names


def layout_fields(given):
    """What the identity of an import has of where its clips are, if it is more than a table."""
    name = given["manifest"]
    return {
        **({"format": given["format"]} if given["format"] else {}),
        **({"listing": files_below(name)} if Path(name).is_dir() else stamps([name])),
    }
