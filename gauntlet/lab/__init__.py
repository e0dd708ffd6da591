"""Provides hosts with addresses of their own: network namespaces, joined by bridges, routers and delaying links."""
