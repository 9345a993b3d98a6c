"""Every visit has a connection of its own."""

from locust import FastHttpUser, between, task


class Passer(FastHttpUser):
    """Comes, asks twice on one new connection, and leaves."""

    concurrency = 1
    wait_time = between(0.05, 0.15)

    @task
    def visit(self) -> None:
        """The second answer ends the connection, so the next visit opens another."""
        self.client.get("/bytes/1024", name="first, connects")
        self.client.get("/bytes/128", name="second", headers={"Connection": "close"})
