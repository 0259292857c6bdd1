"""What an operator sees: metrics, logs, traces.

Layers below know none of this. They hold plain totals of their own, or call an observer that they were given, once per
batch where they can; nothing is formatted, looked up by label or allocated for a metric on the path of a request.

    histogram.py   counts in buckets, plain numbers behind a lock
    meters.py      the observers that count: requests, lanes, preprocessing
    metrics.py     every metric there is: name, kind, labels, meaning; docs and collector are made from it
    collector.py   reads meters and the server's own totals when somebody scrapes
    endpoint.py    the HTTP endpoint
    loop_lag.py    how late the event loop is
    device.py      memory of the GPUs
    requests.py    the request id, wherever a log line or a span wants it
    logs.py        text or JSON lines
    tracing.py     OpenTelemetry spans: stages under their request, batches linked to theirs
"""
