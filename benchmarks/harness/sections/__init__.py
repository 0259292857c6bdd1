"""The sections of the serving benchmark: each takes a Context and returns an Outcome."""
