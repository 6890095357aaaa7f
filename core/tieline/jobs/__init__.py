"""RQ's side: job functions and the worker's loop."""
