"""Records: one form, one comparison, one way to be written."""

from tieline.records.canonical import canonical, restore
from tieline.records.page import PageWriter, Prepared

__all__ = ["PageWriter", "Prepared", "canonical", "restore"]
