"""Admission, queue, policy, and the batcher that drives a lane."""
