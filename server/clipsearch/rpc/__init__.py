"""Servicers, interceptors, and the one mapping from errors to statuses."""
