"""Implements Kademlia, KRPC messages and BEP 44 items as pure code.

Nothing here imports Twisted, reads a clock, opens a socket or draws random numbers: callers pass the time, in seconds
on any steady clock, and random bytes.
"""
