"""Use cases that change several modules: one transaction while they live together."""

from portico.workflow.definition import Step, Workflow
from portico.workflow.together import Workflows, step_key, trying

__all__ = ["Step", "Workflow", "Workflows", "step_key", "trying"]
