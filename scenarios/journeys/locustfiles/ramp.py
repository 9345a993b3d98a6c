"""Users come one after another until `--users` are there at the end of `--run-time`."""

# mypy: disable-error-code="no-untyped-call, union-attr"
from locust import FastHttpUser, LoadTestShape, between, task


class Reader(FastHttpUser):
    """One page after another. Pauses differ, or all who came in one second would ask in the same instant."""

    concurrency = 1
    wait_time = between(0.1, 0.3)

    @task
    def read(self) -> None:
        """One page."""
        self.client.get("/bytes/2048", name="page")


class Ramp(LoadTestShape):
    """From a tenth of the users to all of them, in a straight line."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now (asked once a second), and how fast they may come."""
        asked = self.runner.environment.parsed_options
        share = self.get_run_time() / asked.run_time
        return None if share >= 1 else (max(1, round(asked.num_users * (0.1 + 0.9 * share))), 100.0)
