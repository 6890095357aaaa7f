"""Alerts: raised once per crossing, told at least once, closed when it is over."""

from tieline.alerts.kinds import KINDS, Kind
from tieline.alerts.raising import Alerter, close_alert, raise_alert

__all__ = ["KINDS", "Alerter", "Kind", "close_alert", "raise_alert"]
