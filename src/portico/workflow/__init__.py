"""Use cases that change several modules: one transaction while these live together, a durable saga apart.

A module is given its :class:`Workflows`, defines each :class:`Workflow` there once and runs it. Where
the modules live decides how it runs; what it does is written once.
"""

from portico.workflow.definition import Step, Wait, Workflow
from portico.workflow.log import forget, under_way
from portico.workflow.recovery import Recovery
from portico.workflow.runs import Runs
from portico.workflow.settings import WorkflowSettings
from portico.workflow.step import step_key, trying
from portico.workflow.workflows import Workflows

__all__ = [
    "Recovery",
    "Runs",
    "Step",
    "Wait",
    "Workflow",
    "WorkflowSettings",
    "Workflows",
    "forget",
    "step_key",
    "trying",
    "under_way",
]
