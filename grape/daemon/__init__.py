"""Runs a grape as a process of its own, under ``grape``, twistd and twist."""
