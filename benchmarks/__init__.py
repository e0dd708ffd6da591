"""Measures how fast a grape is beside its peers, as one command: ``python -m benchmarks``. Not part of the package."""
