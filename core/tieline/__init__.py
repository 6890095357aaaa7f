"""Tieline keeps SaaS data in step; plugin authors import ``tieline.contract``."""

__version__ = "0.1.0"
