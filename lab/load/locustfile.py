"""The steady engine in Locust, by hand: locust -f lab/load/locustfile.py --host http://ADDRESS:PORT --rate 2000

Locust's own users wait for their answers; this one does not. It offers its schedule once and then ends the test.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from lab.load.user import SteadyUser
from lab.record import Arrivals


@events.init_command_line_parser.add_listener
def options(parser: LocustArgumentParser) -> None:
    """What the schedule is made of."""
    parser.add_argument("--rate", type=float, default=1000.0, help="Requests a second")
    parser.add_argument("--seconds", type=float, default=10.0, help="Length of the schedule")
    parser.add_argument("--connections", type=int, default=32, help="Connections that carry it")
    parser.add_argument("--path", default="/bytes/128", help="Target of every request")
    parser.add_argument("--arrivals", choices=list(map(str, Arrivals)), default="poisson", help="Spread of send times")
    parser.add_argument("--seed", type=int, default=1, help="Decides the send times")


class Steady(SteadyUser):
    """One schedule, as the options say; when it has been offered, the test is over."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        asked = environment.parsed_options
        if asked is not None:
            self.rate_per_s, self.seconds, self.connections = asked.rate, asked.seconds, asked.connections
            self.path, self.arrivals, self.seed = asked.path, Arrivals(asked.arrivals), asked.seed

    def on_stop(self) -> None:
        """Nobody else is there: the test ends."""
        if self.environment.runner is not None:
            self.environment.runner.quit()
