from __future__ import annotations

from portico.testing.servers import database_url, databases, postgres, redis_url

__all__ = ["database_url", "databases", "postgres", "redis_url"]
