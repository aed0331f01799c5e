"""The built-in demo world."""


rule make_demo:
    """Render the demo world: raw videos, captions, prompts, and the truth apart."""
    output:
        videos=directory(f"{DEMO}/videos"),
        captions=f"{DEMO}/captions.csv",
        prompts=f"{DEMO}/prompts.txt",
        truth=directory(f"{DEMO}/truth"),
    log:
        f"logs/make_demo/{config['run']}/all.log",
    benchmark:
        f"benchmarks/make_demo/{config['run']}/all.tsv"
    threads: asks.threads("make_demo")
    resources:
        mem_mb=asks.mem_mb("make_demo"),
        runtime=asks.runtime("make_demo"),
    params:
        identity=identity(
            version=VERSIONS["make_demo"], seed=config["seed"], **config["demo"]
        ),
        folder=lambda wildcards, output: Path(output.captions).parent,
        options=[
            f"--{name.replace('_', '-')} {' '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in sorted(config["demo"].items())
        ],
        seed=config["seed"],
    shell:
        "opensora make-demo --output {params.folder} {params.options} "
        "--seed {params.seed} --job-log {log} >> {log} 2>&1"
