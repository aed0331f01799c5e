"""The ways in and out: from clips to a manifest, out of the run, and a look at a folder."""
