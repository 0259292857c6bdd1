"""Load on a running server, by Locust: users, arrivals, what is recorded, shapes, runs, reports. See docs/load-testing.md."""
