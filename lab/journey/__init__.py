"""Walks journeys: Locust, as its own processes in the client's pod, on one arm at a time."""
