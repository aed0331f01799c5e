"""MMEngine configs: load, override, check every name; registries turn names into objects."""
