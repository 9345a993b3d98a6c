"""Proxy configuration, built once for every datapath that uses that proxy."""
