"""A cluster: what it has, how long jobs take on it, whether they fit; as a login node sees it."""
