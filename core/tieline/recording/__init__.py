"""Answers of a provider as files, without its people: taken, masked, played again."""

from tieline.recording.kinds import is_field_name
from tieline.recording.mask import Mask
from tieline.recording.play import VERSION, Recording, read_recording, read_recordings
from tieline.recording.take import Bounds, Taken, take

__all__ = [
    "VERSION",
    "Bounds",
    "Mask",
    "Recording",
    "Taken",
    "is_field_name",
    "read_recording",
    "read_recordings",
    "take",
]
