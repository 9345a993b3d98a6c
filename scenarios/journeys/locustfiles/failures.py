"""Things go wrong on purpose: not found, slow, slower than the user's patience, closed."""

from locust import FastHttpUser, between, task


class Unlucky(FastHttpUser):
    """Goes on whatever happens; waits for an answer for half a second at most."""

    concurrency = 1
    network_timeout = 0.5
    wait_time = between(0.05, 0.2)

    @task(6)
    def lucky(self) -> None:
        """Most things work."""
        self.client.get("/bytes/128", name="fine")

    @task(2)
    def lost(self) -> None:
        """404: an answer, and a failure."""
        self.client.get("/nothing/here", name="not found")

    @task(1)
    def slow(self) -> None:
        """It comes in time, but late."""
        self.client.get("/sleep/100/bytes/128", name="slow")

    @task(1)
    def too_slow(self) -> None:
        """The user gives up first."""
        self.client.get("/sleep/900/bytes/128", name="too slow")

    @task(2)
    def cut(self) -> None:
        """The server closes the connection. A POST: Locust's client would silently repeat a GET."""
        self.client.post("/close", json={"order": 1}, name="cut off")
