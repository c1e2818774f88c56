"""The step "find": look for faces in one segment and write down what was seen. `main.py` brings the engine along.

A segment is done when its findings are there: that write is the commit. They hold embeddings, so they are
deleted as soon as the faces are linked across the segments. A worker that comes later than that leaves none.
"""

import time
from collections.abc import Callable

from defacer.pipeline import jobs, layout, log, store
from defacer.pipeline.contracts import SegmentTask
from defacer.pipeline.parts import up_to_the_whole
from defacer.pipeline.settings import settings
from defacer.worker.attempt import Assignment, attempting, do_once

NUMPY_ARCHIVE = "application/octet-stream"

Look = Callable[[Assignment], bytes]


def find(task: SegmentTask, message_id: str, look: Look) -> None:
    """Do this step unless it is done, and say that it is done; when it came too late, do nothing.

    Raises RetryableError if the message has to come back: somebody else is at it, or a fault that may pass.
    """
    with attempting(task, is_past=jobs.is_past_finding):
        if jobs.is_past_finding(task.job):
            # A worker that died may have written them after all others were deleted.
            store.delete_any(settings().work_bucket, layout.findings(task.job, task.index, task.part))
            if jobs.is_over(task.job):
                jobs.clean_up(task.job)
            return
        do_once(task, message_id, _is_done, lambda todo: _do(task, todo, look))


def _is_done(task: SegmentTask) -> bool:
    """Whether the findings of this part are there, or of what it is a part of, or were.

    In this order, because they go after the job is linked.
    """
    names = (layout.findings(task.job, task.index, part) for part in up_to_the_whole(task.part))
    return any(store.find(settings().work_bucket, name) for name in names) or jobs.is_past_finding(task.job)


def _do(task: SegmentTask, todo: Assignment, look: Look) -> None:
    started = time.monotonic()
    data = look(todo)
    name = layout.findings(task.job, task.index, task.part)
    try:
        ref = store.write_once(
            settings().work_bucket,
            name,
            data,
            NUMPY_ARCHIVE,
            metadata={layout.OF_SECONDS: f"{time.monotonic() - started:.3f}"},
            progress=todo.keep_claim,
        )
    except store.AlreadyWrittenError:
        return  # somebody was quicker: theirs count
    if jobs.is_past_finding(task.job):  # the others' were deleted meanwhile, perhaps before these were there
        store.delete(ref)
    log.info("faces found", seconds=round(time.monotonic() - started, 3))
