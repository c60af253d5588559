"""How long workflows wait for what, where their modules live apart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class WorkflowSettings:
    """The defaults suit a server. Every time is in seconds."""

    lease_seconds: float = 15.0
    """A run that its process has not touched for so long is anybody's, also when that process still works on it."""
    step_timeout_seconds: float = 5.0
    """Longest for one attempt of a step elsewhere, and never more than the caller has left."""
    step_attempts: int = 3
    """So often a step is tried before its caller is told that it cannot be done now."""
    step_delay_seconds: float = 0.05
    """Before the second attempt; twice as long before each one after it."""
    undo_seconds: float = 5.0
    """So long a caller may wait for an undo; then recovery goes on with it."""
    wait_seconds: float = 10.0
    """So long a repeat without a deadline of its own waits for the run that goes on elsewhere."""
    poll_seconds: float = 1.0
    """How often recovery looks for runs that nobody works on."""
    idle_poll_seconds: float = 30.0
    """The same where all modules live together: there may be runs from before a move."""
    turn_seconds: float = 30.0
    """Longest that recovery works on one run before others have their turn."""
    threads: int = 2
    """So many runs recovery works on at once."""
    forward_attempts: int = 5
    """So often recovery tries to go forward against a module that cannot be reached; then it undoes."""
    max_attempts: int = 100
    """Then a run is dead: kept, logged, and left to a person. With the delays below after an hour and a half.

    One that waits for a module which cannot be reached does not die of that.
    """
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 60.0
    keep_seconds: float = 7 * 86_400.0
    """Ended runs are kept so long, for repeats of their requests and for whoever looks into the log."""

    @property
    def attempts_in_outage(self) -> int:
        """So many attempts are used up at the most while a module cannot be reached."""
        return max(self.forward_attempts, self.max_attempts // 2)
