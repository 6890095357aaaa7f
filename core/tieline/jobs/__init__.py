"""RQ's side: job functions and the worker's loop."""

from tieline.coordination import alone

assert alone  # before RQ imports redis-py
