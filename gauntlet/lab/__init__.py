"""Provides hosts with addresses of their own: network namespaces that are joined by bridges, routers and delaying links."""
