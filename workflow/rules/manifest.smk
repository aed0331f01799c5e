"""Join, filter and account for everything."""

import json


rule build_manifest:
    """Join all shards into one table; every row is kept or rejected with its reason."""
    input:
        videos=f"{RUN}/ingest/videos.csv",
        scenes=shard_tables("scenes"),
        clips=shard_tables("clips"),
        captions=shard_tables("captions"),
        scores=expand(
            f"{RUN}/scores/{{scorer}}/{{shard}}.csv",
            scorer=config["scorers"],
            shard=SHARDS,
        ),
    output:
        manifest=f"{RUN}/manifest.csv",
        rejected=f"{RUN}/rejected.csv",
        funnel=f"{RUN}/funnel.json",
    log:
        f"logs/build_manifest/{config['run']}/all.log",
    benchmark:
        f"benchmarks/build_manifest/{config['run']}/all.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=4_000,
        runtime=60,
    params:
        version=VERSIONS["build_manifest"],
        scores=expand(
            f"{{scorer}}={RUN}/scores/{{scorer}}/{{shard}}.csv",
            scorer=config["scorers"],
            shard=SHARDS,
        ),
        filters=json.dumps(config["filters"], sort_keys=True),
        validation=config["validation_fraction"],
    shell:
        "opensora build-manifest --videos {input.videos} --scenes {input.scenes} "
        "--clips {input.clips} --captions {input.captions} --scores {params.scores} "
        "--filters {params.filters:q} --validation-fraction {params.validation} "
        "--manifest {output.manifest} --rejected {output.rejected} --funnel {output.funnel} > {log} 2>&1"
