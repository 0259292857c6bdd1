"""A soak: half of what the server can do, for an hour."""

from locust import LoadTestShape


class Soak(LoadTestShape):
    """``users`` for ``over_s`` seconds, started within ``ramp_s``."""

    users, ramp_s, over_s = 20, 30, 3600

    def tick(self) -> tuple[int, float] | None:
        """Return the users of the moment and how many of them to start a second; None in the end."""
        return None if self.get_run_time() >= self.over_s else (self.users, self.users / self.ramp_s)
