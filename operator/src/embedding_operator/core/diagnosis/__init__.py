"""What is wrong with a service's pods and Deployments, in words that say what to change. One module a concern."""

from embedding_operator.core.diagnosis.deployment import of_deployment
from embedding_operator.core.diagnosis.events import jobs_need_events, needs_events
from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.job import of_job
from embedding_operator.core.diagnosis.pod import PodDiagnosis, diagnose
from embedding_operator.core.diagnosis.severity import most_severe, rollout_trouble

__all__ = [
    "ExpectedPod",
    "PodDiagnosis",
    "diagnose",
    "jobs_need_events",
    "most_severe",
    "needs_events",
    "of_deployment",
    "of_job",
    "rollout_trouble",
]
