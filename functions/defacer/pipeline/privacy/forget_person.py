"""Forget a person of a channel, for the command and the console: all steps in order, and what is left afterwards."""

from collections.abc import Callable
from dataclasses import dataclass

from defacer.pipeline.errors import PermanentError
from defacer.pipeline.media_engine import MediaEngine
from defacer.pipeline.privacy import forget
from defacer.pipeline.privacy.job_lookup import Say
from defacer.pipeline.privacy.person_data import PersonData, VisibleIn, find_person_data
from defacer.plurals import pluralize

# Called with the kind of a finding, its value, and a line for a user.
AddFinding = Callable[[str, object, str], None]


@dataclass(frozen=True)
class ForgetRequest:
    """The person to forget, and the handling of results that show the person."""

    person: str
    channel: str
    rerender: bool
    delete_unrenderable: bool

    @property
    def changes_results(self) -> bool:
        """Whether results change that show the person."""
        return self.rerender or self.delete_unrenderable


@dataclass(frozen=True)
class ForgetOutcome:
    """Whether nothing of the person is left, in a sentence too, and which options would remove more."""

    is_forgotten: bool
    summary: str
    rerender_would_help: bool = False
    delete_would_help: bool = False


def describe_person_data(data: PersonData, request: ForgetRequest) -> str:
    """Return what is stored of the person, as one line."""
    return (
        f"{request.person} in channel {request.channel}: {pluralize(len(data.pictures), 'target picture')}, "
        f"{pluralize(len(data.running_jobs), 'running job')}, named in "
        f"{pluralize(len(data.documents_naming_person), 'document')}, "
        f"visible in {pluralize(len(data.visible_in), 'result')}"
    )


def forget_person(request: ForgetRequest, add: AddFinding, say: Say, engine: MediaEngine) -> ForgetOutcome:
    """Withdraw the consent, and hide the person in results or delete these, as the request says.

    `add` is called with each removed object and each finding, and `say` with lines about the progress. An interrupted
    call can be repeated.
    """

    def add_removed(ref: object) -> None:
        add("removed", ref, f"removed {ref}")

    data = forget.withdraw(request.channel, request.person, add_removed, say)
    for shown in data.visible_in:
        _hide_or_delete(shown, request, add, say, engine)
    if request.changes_results:
        forget.delete_versions(data.old_versions, add_removed)
    now = find_person_data(request.channel, request.person)
    say("Remove copies outside these buckets yourself, such as downloads.")
    for name in now.results_without_report:
        add("without_report", name, f"has no readable report {name}: check it yourself")
    for job in now.unreadable_jobs:
        add("unreadable_jobs", job, describe_unreadable(job))
    new = _find_new(data, now, request)
    for name in new:
        add("new", name, f"new {name}")
    return _conclude(now, request, len(new))


def describe_unreadable(job: str) -> str:
    """Return a line about a job whose documents can't be read."""
    return f"unreadable job {job}, of this channel or another: erase it, or repair its objects in the work bucket"


def _hide_or_delete(
    shown: VisibleIn, request: ForgetRequest, add: AddFinding, say: Say, engine: MediaEngine
) -> None:
    """Re-render the result or delete it, as the request says, or report why not."""
    obstacle, job = shown.obstacle, shown.report.job
    if obstacle is None and request.rerender:
        say(f"Re-rendering {shown.result} ...")
        try:
            forget.rerender_hidden(shown, request.person, engine)
        except PermanentError as error:
            obstacle = str(error)
        else:
            add("rerendered", shown.result, f"re-rendered {shown.result} (job {job})")
            return
    if obstacle is not None and request.delete_unrenderable:
        forget.delete_result(shown, lambda ref: add("removed", ref, f"removed {ref}"))
        return
    how = f"it can't be re-rendered: {obstacle}" if obstacle else "it can be re-rendered"
    add("shows_person", shown.result, f"shows {request.person} {shown.result} (job {job}): {how}")


def _find_new(before: PersonData, now: PersonData, request: ForgetRequest) -> list[str]:
    """Return the person's data that arrived in the meantime."""
    known = {shown.report.job for shown in before.visible_in}
    new = [shown.result for shown in now.visible_in if shown.report.job not in known]
    new += [f"job {job}" for job in now.running_jobs]
    documents = (ref for ref, _ in now.documents_naming_person)
    new += map(str, (*now.pictures, *now.orphaned_objects, *documents))
    return [*new, *map(str, now.old_versions)] if request.changes_results else new


def _conclude(now: PersonData, request: ForgetRequest, new: int) -> ForgetOutcome:
    person = request.person
    if new:
        return ForgetOutcome(
            False,
            f"{pluralize(new, 'object')} of {person} arrived in the meantime. Forget the person again.",
        )
    if not (now.visible_in or now.old_versions or now.results_without_report or now.unreadable_jobs):
        return ForgetOutcome(
            True,
            f"{person} is forgotten in channel {request.channel}: no picture, no name, and no result shows the person.",
        )
    unrenderable = request.rerender or any(shown.obstacle for shown in now.visible_in)
    return ForgetOutcome(
        False,
        f"New videos hide {person}. {pluralize(len(now.visible_in), 'result')} and "
        f"{pluralize(len(now.old_versions), 'older version')} still show the person, and "
        f"{pluralize(len(now.results_without_report), 'result')} can't be checked.",
        rerender_would_help=bool(now.visible_in or now.old_versions) and not request.rerender,
        delete_would_help=bool(now.visible_in) and unrenderable and not request.delete_unrenderable,
    )
