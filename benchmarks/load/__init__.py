"""Load on a running server, by Locust: users, arrivals, recording, shapes, runs, reports. See docs/load-testing.md."""
