"""A fifth of `--users`, all of them for the middle third of `--run-time`, then a fifth again."""

# mypy: disable-error-code="no-untyped-call, union-attr"
from locust import FastHttpUser, LoadTestShape, between, task


class Reader(FastHttpUser):
    """Pages and notes, with short thoughts between them."""

    concurrency = 1
    wait_time = between(0.1, 0.3)

    @task(3)
    def read(self) -> None:
        """One page."""
        self.client.get("/bytes/2048", name="page")

    @task(1)
    def note(self) -> None:
        """A small thing that is written."""
        self.client.post("/bytes/512", json={"note": "remember the milk"}, name="note")


class Spike(LoadTestShape):
    """Three equal parts: calm, spike, calm."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now (asked once a second), and how fast they may come."""
        asked = self.runner.environment.parsed_options
        third = int(self.get_run_time() / asked.run_time * 3)
        return None if third >= 3 else (asked.num_users if third == 1 else max(1, asked.num_users // 5), 100.0)
