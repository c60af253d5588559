"""What keeps one process's trouble its own: circuit breakers, bulkheads, retries with a bound, load shedding."""
