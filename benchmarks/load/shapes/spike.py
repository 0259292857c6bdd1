"""A spike: ordinary load, many times that for a while, and ordinary load again: does it recover, and how soon?"""

from locust import LoadTestShape


class Spike(LoadTestShape):
    """``ordinary`` users, ``times`` as many from ``begins_s`` to ``ends_s``."""

    ordinary, times, begins_s, ends_s, over_s = 10, 8, 30, 45, 90

    def tick(self) -> tuple[int, float] | None:
        """Return the users of the moment and how many of them to start a second; None in the end."""
        now = self.get_run_time()
        if now >= self.over_s:
            return None
        users = self.ordinary * (self.times if self.begins_s <= now < self.ends_s else 1)
        return users, self.ordinary * self.times
