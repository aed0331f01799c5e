"""Join, filter and account for everything."""

import json


rule index_tables:
    """Write bytes and hash of the tables of all shards, on which build_manifest depends.

    Behind a job Snakemake hashes all its inputs once for each of its outputs and writes them down
    beside each: no rule has both by the number of shards.
    """
    input:
        videos=shard_tables("ingest"),
        scenes=shard_tables("scenes"),
        clips=shard_tables("clips"),
        captions=shard_tables("captions"),
        scores=score_tables(),
    output:
        index=TABLE_INDEX,
    log:
        f"logs/index_tables/{config['run']}/all.log",
    benchmark:
        f"benchmarks/index_tables/{config['run']}/all.tsv"
    threads: asks.threads("index_tables")
    resources:
        mem_mb=asks.mem_mb("index_tables"),
        runtime=asks.runtime("index_tables"),
    params:
        identity=identity(version=VERSIONS["index_tables"]),
        # a function of input: not compared, and no wildcard is looked for in it
        tables=lambda wildcards, input: [
            every_shard(name)
            for name in (
                *("ingest", "scenes", "clips", "captions"),
                *(f"scores/{name}" for name in config["scorers"]),
            )
        ],
        num_shards=lambda wildcards, input: len(VIDEO_SHARDS),
    shell:
        "opensora index-tables {params.tables:q} --num-shards {params.num_shards} "
        "--output {output.index} --job-log {log} >> {log} 2>&1"


rule build_manifest:
    """Join all shards into one table; every row is kept or rejected with its reason."""
    input:
        tables=TABLE_INDEX if VIDEO_SHARDS else [],
        ready=ready_indexes(),
        corrections=plain_names(CORRECTIONS),
    output:
        manifest=PARTITIONS,
        index=PARTITION_INDEX,
        rejected=f"{RUN}/rejected.csv",
        funnel=f"{RUN}/funnel.json",
        card=f"{RUN}/data_card.md",
    log:
        f"logs/build_manifest/{config['run']}/all.log",
    benchmark:
        f"benchmarks/build_manifest/{config['run']}/all.tsv"
    threads: asks.threads("build_manifest")
    resources:
        mem_mb=asks.mem_mb("build_manifest"),
        runtime=asks.runtime("build_manifest"),
    params:
        identity=identity(
            version=VERSIONS["build_manifest"],
            **{
                name: config[name]
                for name in (
                    *("scorers", "filters", "keep_if", "licences", "dedup", "prefer"),
                    *("max_clips_per_source", "validation_fraction", "test_fraction"),
                )
            },
            # what a run without `sources` has not
            **({"sources": rules_of_sources(config)} if config["sources"] else {}),
            **stamps(CORRECTIONS),
        ),
        # functions of input: not compared, and no wildcard is looked for in them
        tables=lambda wildcards, input: options(
            **{name: every_shard(name) for name in ("scenes", "clips", "captions")},
            videos=every_shard("ingest"),
            scores=[
                f"{name}={every_shard(f'scores/{name}')}"
                for name in config["scorers"]
                if VIDEO_SHARDS
            ],
            num_shards=len(VIDEO_SHARDS) or None,
            index=TABLE_INDEX if VIDEO_SHARDS else None,
            imported=[f"{IMPORTED}/{source['name']}" for source in READY],
            corrections=CORRECTIONS,
        ),
        # the same: it stands in the identity
        sources=lambda wildcards, input: options(
            sources=(
                json.dumps(rules_of_sources(config), sort_keys=True)
                if config["sources"]
                else None
            )
        ),
        filters=as_given(json.dumps(config["filters"], sort_keys=True)),
        selection=as_given(
            options(
                keep_if=config["keep_if"],
                licences=config["licences"],
                max_distance=config["dedup"]["max_distance"],
                max_clips_per_source=config["max_clips_per_source"],
                prefer=config["prefer"],
            )
        ),
        manifest=lambda wildcards, input: MANIFEST,
        csv=f"{RUN}/manifest.csv",
        # for people, so it is no output; and a function of input is not compared
        csv_when=lambda wildcards, input: config["manifest_csv"],
        validation=config["validation_fraction"],
        test=config["test_fraction"],
    shell:
        "opensora build-manifest {params.tables:q} {params.sources:q} "
        "--filters {params.filters:q} {params.selection:q} "
        "--validation-fraction {params.validation} --test-fraction {params.test} "
        "--manifest {params.manifest} --csv {params.csv} --csv-when {params.csv_when} "
        "--rejected {output.rejected} --funnel {output.funnel} "
        "--data-card {output.card} --job-log {log} >> {log} 2>&1"
