"""The page that people read."""

# what build_manifest joins, which the page joins again to ask it for other rules
JOINED = ("ingest", "scenes", "clips", "captions")
# the display of profiles/local names it at the end
logger.info("", extra={"opensora_report": f"{RUN}/report/index.html"})


rule report:
    """Write the HTML report of the run."""
    input:
        expand(rules.evaluate.output, stage=SAMPLED_POINTS),
        expand(rules.sample.output, stage=SAMPLED_POINTS),
        expand(rules.assign_buckets.output, stage=REPORTED_STAGES),
        expand(rules.settle_plan.output.ledger, stage=REPORTED_STAGES),
        expand(rules.settle_plan.output.rejected, stage=REPORTED_STAGES),
        expand(rules.train.output.metrics, stage=REPORTED_STAGES),
        expand(rules.train.output.rejected, stage=REPORTED_STAGES),
        expand(rules.train.output.config, stage=REPORTED_STAGES),
        latent_indexes([name for name in REPORTED_STAGES if name in STORED_STAGES]),
        CURATED_AT_ONCE,
        score_tables(),
        [] if config["manifest"] else list(map(shard_tables, JOINED)),
        embedding_indexes() if STORED_STAGES else [],
        trained_models(),
        certificates(REPORTED_STAGES),
        funnel=f"{RUN}/funnel.json",
        against=rules.compare_evaluations.output if config["report"]["against"] else [],
    output:
        page=f"{RUN}/report/index.html",
        # the charts of the page, for `snakemake --report`: a page of several files is none of it
        pictures=report(
            directory(f"{RUN}/report/pictures"),
            patterns=["{part}/{picture}.svg"],
            caption="../report/picture.rst",
            category="{part}",
            labels={"run": config["run"], "picture": "{picture}"},
        ),
    log:
        f"logs/report/{config['run']}/all.log",
    benchmark:
        f"benchmarks/report/{config['run']}/all.tsv"
    threads: asks.threads("report")
    resources:
        mem_mb=asks.mem_mb("report"),
        runtime=asks.runtime("report"),
    params:
        identity=identity(version=VERSIONS["report"], settings=report_settings(config)),
        run=lambda wildcards, input: Path(input.funnel).parent,
        benchmarks="benchmarks",
        against=lambda wildcards, input: options(against=list(input.against)),
    shell:
        "opensora report --run-dir {params.run} --benchmarks {params.benchmarks} "
        "--output {output.page} {params.against:q} --pictures {output.pictures} --job-log {log} >> {log} 2>&1"
