"""What a person sees of the DAG; the one package that knows Snakemake. Imports no torch."""
