"""The sample catalogue: what is sold (`specs`), how it is drawn (`render`), how it lands on disk (`write`)."""
