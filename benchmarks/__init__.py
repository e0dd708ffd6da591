"""How fast this grape is, beside its peers: ``python -m benchmarks``."""
