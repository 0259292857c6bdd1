"""Admission, queue, policy, and the batcher that drives a lane.

A *lane* is the queue, the batcher and the worker threads of one stage (text tower, image tower, search). Batching is
natural rather than timed: a free worker takes what waits, up to the budget, and while it runs the next batch gathers.
The alternative, holding every request for a fixed window, costs an idle server latency and gains a busy one nothing.

    admission.py   how many items may be inside a lane at once
    policy.py      which of the waiting items make the next batch; pure
    queue.py       the waiting items, two priorities, cancelled and expired ones dropped; pure, told the time
    lane.py        threads: moves batches from the queue through a run function and back to the event loop
"""
