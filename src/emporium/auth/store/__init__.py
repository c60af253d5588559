"""The tables of auth and every statement on them, one noun a file."""

from __future__ import annotations

from sqlalchemy import MetaData

metadata = MetaData(schema="auth")
