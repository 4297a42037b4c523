"""What is known and decided of one service: its model, its rollout, its diagnoses, and the objects that are wanted."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, partial

from embedding_operator.core import diagnosis
from embedding_operator.core.build import Blueprint, Desired, build, claim_of
from embedding_operator.core.cache_access import why_not_mounted
from embedding_operator.core.downloads import downloading, least_advanced
from embedding_operator.core.model_source import find_shared, find_source
from embedding_operator.core.objects import Raw, kind_ref, revision_of, template_digest
from embedding_operator.core.pins import Pin
from embedding_operator.core.resolve import resolve_service
from embedding_operator.core.revision import revision_and_template
from embedding_operator.core.rollout import Phase, decide, decide_unresolved
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.view import View
from embedding_operator.kinds import DEPLOYMENT
from embedding_operator.settings import Settings

__all__ = ["decide_service", "is_users_change"]


def decide_service(snapshot: Snapshot, settings: Settings, now: datetime) -> tuple[View, list[Desired]]:
    """All that is known and decided of a service, and the objects that are wanted. Raises Refused, RenderFailed."""
    resolved = resolve_service(snapshot, settings)
    unpinned = cache(partial(revision_and_template, resolved, settings))  # seldom needed where the version is known

    def revision() -> str:
        return unpinned()[0]

    shared = find_shared(resolved, revision, snapshot, settings)
    notes = () if shared else why_not_mounted(resolved, snapshot, settings)
    resolved = replace(resolved, shared=shared, notes=(*resolved.notes, *notes))

    def is_held(pin: Pin) -> bool:
        failed = (snapshot.status.get("revision") or {}).get("failed")
        if not failed or not snapshot.deployments:
            return False
        tried, template = revision_and_template(replace(resolved, pin=pin), settings)
        return bool(failed["revision"] == tried and failed.get("template") in (None, template_digest(template)))

    source = find_source(resolved, revision, snapshot, settings, now, is_held=is_held)
    if not source.is_known:
        return _unresolved(View(snapshot, settings, now, resolved=resolved), unpinned()[1], source.job)
    if source.pin is not None:
        resolved = replace(resolved, pin=source.pin)
    desired_revision, template = revision_and_template(resolved, settings) if source.pin else unpinned()
    view = _diagnosed(View(snapshot, settings, now, resolved=resolved), desired_revision, template)
    rollout = decide(
        desired=desired_revision,
        replicas=resolved.replicas,
        spec=resolved.rollout,
        snapshot=snapshot,
        template=template,
        trouble=diagnosis.rollout_trouble(view.diagnoses.values(), view.deployment_finding),
        is_users_change=is_users_change(snapshot),
        now=now,
    )
    desired = build(Blueprint(resolved, template, rollout, source.job, claim_of(resolved, snapshot)))
    waits = rollout.phase is Phase.QUEUED or _waits_for_budget(snapshot, desired)
    if waits:  # Deployments stay as they are: the rollout keeps them
        desired = [each for each in desired if kind_ref(each) is not DEPLOYMENT]
    if source.checks:
        check = snapshot.refused_check or diagnosis.of_job(source.job, resolved, snapshot, now)
        view = replace(view, is_checking=True, failed_check=check if check.is_trouble else None)
    return replace(view, rollout=rollout, budget_waits=waits), desired


def _unresolved(view: View, template: Raw, job: Desired | None) -> tuple[View, list[Desired]]:
    """The same while a Job is to find the version of the model. Deployments are scaled, and stay as they are else."""
    assert view.resolved is not None  # noqa: S101 for the type checker
    snapshot, resolved = view.snapshot, view.resolved
    rollout = decide_unresolved(view.replicas, snapshot, is_users_change=is_users_change(snapshot))
    waits = rollout.phase is Phase.QUEUED
    arriving = downloading(snapshot.job_pods) if resolved.cache_claim else ()
    download = least_advanced(arriving, snapshot.progress)
    finding = None if waits else diagnosis.of_job(job, resolved, snapshot, view.now, download)
    expected = diagnosis.ExpectedPod.of(resolved, {"spec": {"template": template}})
    view = replace(view, rollout=rollout, budget_waits=waits, resolving=finding, expected=expected)
    view = replace(view, downloading=arriving, download=download)
    return view, build(Blueprint(resolved, template, rollout, None if waits else job, claim_of(resolved, snapshot)))


def _diagnosed(view: View, revision: str, template: Raw) -> View:
    """With what the pods and the Deployment of the desired revision show."""
    assert view.resolved is not None  # noqa: S101 for the type checker
    snapshot, now = view.snapshot, view.now
    expected = diagnosis.ExpectedPod.of(view.resolved, {"spec": {"template": template}})
    live = snapshot.deployments.get(revision)
    pods = [pod for pod in snapshot.live_pods(revision) if pod.template == template_digest(template)]
    arriving = downloading(pods)
    download = least_advanced(arriving, snapshot.progress)
    diagnoses = {
        pod.uid: diagnosis.diagnose(pod, expected, snapshot.pod_events.get(pod.uid, ()), now, download) for pod in pods
    }
    finding = diagnosis.of_deployment(live, expected) if live else None
    view = replace(view, expected=expected, diagnoses=diagnoses, deployment_finding=finding)
    return replace(view, downloading=arriving, download=download)


def is_users_change(snapshot: Snapshot) -> bool:
    """The spec is another one than the one that was last rolled out."""
    return bool(snapshot.service["metadata"].get("generation") != snapshot.rolled_out)


def _waits_for_budget(snapshot: Snapshot, desired: Sequence[Desired]) -> bool:
    """Pods would be replaced in place by a change that is not the user's, and the rollout budget has no room."""
    if snapshot.may_roll or is_users_change(snapshot):
        return False
    live = snapshot.deployments
    return any(
        template_digest(each["spec"]["template"]) != template_digest(live[revision_of(each)]["spec"]["template"])
        for each in desired
        if kind_ref(each) is DEPLOYMENT and revision_of(each) in live
    )
