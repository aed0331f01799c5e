"""The page that people read."""

# the display of profiles/local names it at the end
logger.info("", extra={"opensora_report": f"{RUN}/report/index.html"})


rule report:
    """Write the HTML report of the run."""
    input:
        expand(rules.evaluate.output, stage=SAMPLED_STAGES),
        funnel=f"{RUN}/funnel.json",
    output:
        report(
            f"{RUN}/report/index.html",
            caption="../report/report.rst",
            category="Report",
            labels={"run": config["run"]},
        ),
    log:
        f"logs/report/{config['run']}/all.log",
    benchmark:
        f"benchmarks/report/{config['run']}/all.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=4_000,
        runtime=60,
    params:
        version=VERSIONS["report"],
        run=lambda wildcards, input: Path(input.funnel).parent,
        benchmarks="benchmarks",
    shell:
        "opensora report --run-dir {params.run} --benchmarks {params.benchmarks} "
        "--output {output} > {log} 2>&1"
