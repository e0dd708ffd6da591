"""Finds out why a grape is not found or finds nothing: ``grape doctor``.

``gather`` collects ``facts``, over HTTP and UDP; ``checks`` are pure functions that make findings of them.
"""
