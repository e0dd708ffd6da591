"""KRPC over UDP sockets (BEP 5): the endpoint, admission to the routing table, lookups and writes."""
