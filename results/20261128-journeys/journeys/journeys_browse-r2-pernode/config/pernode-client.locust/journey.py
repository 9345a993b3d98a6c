"""A shop: visitors look around, shoppers buy. By hand: locust -f browse.py --host http://ADDRESS:8080"""

# mypy: disable-error-code="no-untyped-call"
from locust import FastHttpUser, between, task


class Visitor(FastHttpUser):
    """Looks around, and keeps its connection."""

    weight = 4
    concurrency = 1  # of its connections
    wait_time = between(0.1, 0.5)

    @task(4)
    def look_around(self) -> None:
        """The front page, a list, one thing on it."""
        self.client.get("/bytes/16384", name="front page")
        self.wait()
        self.client.get("/bytes/2048", name="list")
        self.wait()
        self.client.get("/bytes/1024", name="product")

    @task(1)
    def search(self) -> None:
        """One question."""
        self.client.get("/bytes/2048", name="search")


class Shopper(FastHttpUser):
    """Knows what to buy, thinks longer, and pays."""

    weight = 1
    concurrency = 1
    wait_time = between(0.2, 0.8)

    @task
    def buy(self) -> None:
        """From the thing to the receipt."""
        self.client.get("/bytes/1024", name="product")
        self.wait()
        self.client.post("/bytes/128", json={"product": 17, "pieces": 1}, name="basket")
        self.wait()
        self.client.post("/bytes/512", json={"name": "A. Customer", "address": "1 Some Street"}, name="checkout")
