"""What there is: each module declares the operations of one resource as ``OPERATIONS``."""
