"""Alembic migrations of Tieline's tables; run by ``tieline db upgrade``."""
