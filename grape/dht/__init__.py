"""The pure Kademlia core: no Twisted, no clock, no socket, no dice. Time and random bytes are arguments."""
