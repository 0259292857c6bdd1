"""Steps to saturation: as many users more every so often, until there are enough for any server to give way."""

from locust import LoadTestShape


class StepsToSaturation(LoadTestShape):
    """``users`` more every ``step_s`` seconds, ``steps`` times."""

    users, step_s, steps = 10, 20, 10

    def tick(self) -> tuple[int, float] | None:
        """Return the users of the moment and how many of them to start a second; None in the end."""
        step = int(self.get_run_time() // self.step_s)
        return None if step >= self.steps else (self.users * (step + 1), self.users)
