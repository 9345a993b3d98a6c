"""Offers requests: the steady open-loop engine, and the bench that holds other generators beside it."""
