"""`infra/CAPACITY.md`: what the tables say, and how they came about."""

from defacer.pipeline.topology import CLOUD_RETRIES, MAX_TASK_REQUEUES
from infra.capacity import tables
from infra.capacity.inputs import inputs
from infra.capacity.limits import mean_work
from infra.capacity.patience import ATTEMPTS, least_hours
from infra.capacity.pipeline import Outcome
from infra.capacity.runs import ARCHIVE_SECONDS, Runs
from infra.capacity.speed import SIZES, minute_price, second_price
from infra.capacity.uploads import settings


def page(runs: Runs) -> str:
    google, seconds = inputs()["google_face_blur_minute"], settings().segment_seconds
    cpu, gpu = (minute_price(kind, SIZES[1], seconds) for kind in ("cpu", "gpu"))
    first = runs.day[0]
    gpus = [out for out in runs.day if out.scenario.kind == "gpu" and out.scenario.window == "adaptive"]
    least, most = min(gpus, key=_maximum), max(gpus, key=_maximum)
    faster = mean_work("cpu") / mean_work("gpu")
    dearer = second_price("gpu") / second_price("cpu")
    patience = least_hours(CLOUD_RETRIES, ATTEMPTS)
    keeping = 730 * inputs()["storage_gib_hour"]
    networks, codecs, rest = (f"{inputs()[f'gpu_{name}']:.0f}" for name in ("networks", "codecs", "rest"))
    return f"""\
# Cost and capacity

*Written by `make capacity` (`python -m infra.capacity --write`), from the table of inputs at the end and from constants
of the code. Do not edit: change the inputs. Nothing here was run on Google Cloud, and nothing on a GPU.*

- A minute of 1080p costs **{cpu:.4f} USD on CPU workers**, at the measured speed; Google's face blur costs
  {google:.2f} USD. On an L4 it costs {gpu:.4f} USD, if the assumptions about its speed hold.
- **The CPU worker is the cheaper one.** An L4 instance costs {dearer:.1f} times as much a second, and is assumed to be
  {faster:.1f} times as quick, calls to storage included. A GPU is worth its price where one video has to be done
  sooner, or once it is measured to be over {dearer:.1f} times as quick.
- **Idle GPUs cost more than working ones** where few videos come: each lingers 10 to 15 minutes and is billed. Allow
  as many as the busiest hour needs, and no more: the day below costs
  {least.cost / least.video_seconds * 60:.4f} USD a minute with {least.scenario.maximum} L4,
  {most.cost / most.video_seconds * 60:.4f} USD with {most.scenario.maximum}. CPU workers are taken as billed by request
  (`cpu_idle = true`), so lingering costs nothing; billed by instance, a second costs a quarter less, which pays above
  a use of 76 %.
- **Dead letters.** {_verdict(runs, patience)}

## A minute of video

Worker seconds for a minute at {inputs()["frame_rate"]:.0f} frames a second, and what they cost if workers never idle:

{tables.minutes()}
*How it is reckoned*: milliseconds a frame measured on two cores at 720p and 4K; 1080p lies on the line between them,
by pixels. The networks see small frames, so they take the same at each size. By the profile of `make benchmark`, each
stage belongs to one of the two steps. The L4's rows divide the networks by {networks}, decoding and encoding by
{codecs} and the rest by {rest}: **assumptions**. Then {seconds:g} s a segment with its overhead, times the price of an
instance's CPU, memory and GPU, plus storage requests. Not in it: keeping the videos (source and result at {keeping:.2f}
USD a GiB month) and downloading the result from Google (0.12 USD a GiB).

![What a minute costs](capacity/cost.png)

## An hour of video

One hour of 1080p ({3600 / seconds:.0f} segments, each found and hidden), from nothing running:

{tables.hours_of_video()}
A hundred workers are hardly quicker than a few dozen: Pub/Sub's push window begins small, instances start cold, and
joining takes its time. What a hundred L4 cost is their lingering.

## A day of {first.jobs:,} uploads

{first.video_seconds / 3600:,.0f} hours of video: two thirds shorts of 15 to 60 s, the others up to two hours;
30 % 720p, 60 % 1080p, 10 % 4K; an evening peak, and a fifth of the uploads just after a full hour. Simulated with
SimPy: cold starts, lingering, refusals when every instance is busy, Pub/Sub's retries by `CLOUD_RETRIES`, deaths of
instances (the lease of the dead has to run out), passing faults. `infra/capacity/pubsub.py` says what the push windows
are: `adaptive` follows Google's page, `flood` is the worst case for attempts, `paced` is what pulling would do.

{tables.outcomes(runs.day)}
Not simulated is a whole day of `flood` on 3 or 10 L4, which is hundreds of millions of deliveries.

![Workers and backlog over the day](capacity/day.png)
![From upload to published](capacity/waits.png)

## An archive at once

{runs.archive[0].jobs} earlier videos ({runs.archive[0].video_seconds / 3600:.0f} hours)
within {ARCHIVE_SECONDS / 60:.0f} minutes, on few GPUs:

{tables.outcomes(runs.archive)}
Twice as many ({runs.large_archive[0].video_seconds / 3600:.0f} hours):

{tables.outcomes(runs.large_archive)}
## How long a segment may wait

"Every worker is busy" uses up one of a message's attempts, of which Pub/Sub allows 100 at most, with at most 600 s
between two. So a message can't wait for ever:

{tables.patience()}
The present settings (the first row) are within an hour of the longest that Pub/Sub has; a longer first pause would only
make short queues slower. They stay. For a longer backlog `dead_letter` publishes a segment's message
anew, {MAX_TASK_REQUEUES} times (*begun anew* above), so that it is given up after
{MAX_TASK_REQUEUES + 1} times as long only:
by then an alert on the oldest message has rung for days. Pulling instead of pushing would need one attempt each, and
is the quickest (`paced` above).

## Where it ends

In the busiest hour (1.8 times the mean), so that no backlog builds up:

{tables.growth()}
What is reached first:

{tables.bottlenecks()}
Listings are no bottleneck: each is of one job's hundred segments.

## Inputs

{tables.all_inputs()}"""


def _maximum(out: Outcome) -> int:
    return out.scenario.maximum


def _verdict(runs: Runs, patience: float) -> str:
    done = (*runs.day, *runs.archive, *runs.large_archive)
    dead = [out for out in done if out.dead]
    if not dead:
        anew = sum(out.anew for out in done)
        return (
            f"In none of {len(done)} simulated runs was a healthy segment given up; {anew:,} messages that had\n"
            f"  waited for {patience:.1f} h and more began anew."
        )
    in_a_day = sum(out.dead for out in runs.day)
    which = "; ".join(
        f"{out.video_seconds / 3600:.0f} h of video on {out.scenario.maximum} {tables.NAMES[out.scenario.kind]} "
        f"({out.dead:,} of {out.segment_messages:,})"
        for out in dead
    )
    return f"""\
In the simulated days {in_a_day} healthy segments were given up. **But an archive that is uploaded at once on
  too few workers loses healthy segments in the worst case** (push window `flood`): {which}.
  A message that finds every worker busy for {patience:.1f} h is given up, and Pub/Sub has no setting that lets it wait
  longer (below). So allow as many workers as keep the backlog well below that."""
