"""The one HTTP path to providers."""

from tieline.transport.transport import Call, Gate, HttpTransport, Limits, trusted_certificates

__all__ = ["Call", "Gate", "HttpTransport", "Limits", "trusted_certificates"]
