"""Bring the videos of lists of addresses here."""

FETCHED = {source["name"]: source["fetch"] for source in fetched_sources(config)}


rule fetch:
    """Fetch what is not here yet; each address gets a row, whether it came or not."""
    input:
        addresses=lambda wildcards: plain_names([FETCHED[wildcards.source]["list"]]),
    output:
        table=fetched_table("{source}"),
    log:
        f"logs/fetch/{config['run']}/{{source}}.log",
    benchmark:
        f"benchmarks/fetch/{config['run']}/{{source}}.tsv"
    wildcard_constraints:
        source="|".join(FETCHED),
    threads: asks.threads("fetch")
    resources:
        mem_mb=asks.mem_mb("fetch"),
        runtime=asks.runtime("fetch"),
    params:
        identity=identity(
            version=VERSIONS["fetch"],
            fetch=lambda wildcards: {
                **FETCHED[wildcards.source],
                **stamps([FETCHED[wildcards.source]["list"]]),
            },
        ),
        # functions of input: not compared, for they stand in the identity
        addresses=lambda wildcards, input: FETCHED[wildcards.source]["list"],
        max_gb=lambda wildcards, input: FETCHED[wildcards.source]["max_gb"],
        # the files stay when the table is made again, and what is whole is not asked for
        folder=f"{STORE}/fetched",
    shell:
        "opensora fetch {params.addresses:q} --output {params.folder}/{wildcards.source} "
        "--table {output.table} --max-gb {params.max_gb} --job-log {log} >> {log} 2>&1"
