"""The text of `infra/CAPACITY.md` around its tables."""

from defacer.pipeline.topology import CLOUD_RETRIES, MAX_TASK_REQUEUES
from infra.capacity import tables
from infra.capacity.inputs import inputs
from infra.capacity.patience import ATTEMPTS, min_wait_hours
from infra.capacity.pipeline import Outcome
from infra.capacity.runs import ARCHIVE_SECONDS, Runs
from infra.capacity.service_limits import mean_work
from infra.capacity.simulated_uploads import default_settings
from infra.capacity.speed import SIZES, minute_price, second_price


def render_capacity_page(runs: Runs) -> str:
    google, seconds = inputs()["google_face_blur_minute"], default_settings().segment_seconds
    cpu, gpu = (minute_price(kind, SIZES[1], seconds) for kind in ("cpu", "gpu"))
    first = runs.day[0]
    gpu_days = [out for out in runs.day if out.scenario.kind == "gpu" and out.scenario.window == "adaptive"]
    fewest, most = min(gpu_days, key=_maximum), max(gpu_days, key=_maximum)
    faster = mean_work("cpu") / mean_work("gpu")
    dearer = second_price("gpu") / second_price("cpu")
    patience = min_wait_hours(CLOUD_RETRIES, ATTEMPTS)
    storage = 730 * inputs()["storage_gib_hour"]
    networks, codecs, rest = (f"{inputs()[f'gpu_{name}']:.0f}" for name in ("networks", "codecs", "rest"))
    return f"""\
# Cost and capacity

*`make capacity` (`python -m infra.capacity --write`) writes this page from the inputs at the end and from constants of
the code. To change the page, change the inputs. Nothing on it was run on Google Cloud or on a GPU.*

- A minute of 1080p costs **{cpu:.4f} USD on CPU workers** at the measured speed. Google's face blur costs
  {google:.2f} USD. On an L4 it costs {gpu:.4f} USD, if the assumptions about its speed hold.
- **CPU workers are cheaper.** An L4 instance costs {dearer:.1f} times as much per second, and is assumed to be
  {faster:.1f} times as fast, including calls to storage. A GPU is worth its price if a video must be finished
  sooner, or if a measurement shows that it is more than {dearer:.1f} times as fast.
- **Idle GPUs cost more than busy ones** if few videos arrive: an idle instance is billed for another 10 to 15 minutes.
  Allow only as many as the busiest hour needs. The day below costs
  {fewest.cost / fewest.video_seconds * 60:.4f} USD per minute with {fewest.scenario.maximum} L4,
  {most.cost / most.video_seconds * 60:.4f} USD with {most.scenario.maximum}. CPU workers are billed by request
  (`cpu_idle = true`), so idle time costs nothing. Instance-based billing costs a quarter less per second and is cheaper
  above a utilization of 76 %.
- **Dead letters.** {_summarize_dead_letters(runs, patience)}

## A minute of video

Worker seconds per minute of video at {inputs()["frame_rate"]:.0f} frames/s, and their cost without idle workers:

{tables.minutes()}
*Method*: the milliseconds per frame were measured on two cores at 720p and 4K. 1080p is interpolated by its number of
pixels. The networks process small frames, so they take the same time at each size. The profile of `make benchmark`
assigns each stage to one of the two steps. The L4's rows divide the time of the networks by
{networks}, of decoding and encoding by {codecs} and of the rest by {rest}. These are **assumptions**.
A segment has {seconds:g} s and an overhead. The cost is the time multiplied by the price of an
instance's CPU, memory and GPU, plus storage requests. It includes neither storage (source and
result at {storage:.2f} USD per GiB and month) nor downloads of the result (0.12 USD per GiB).

![What a minute costs](capacity/cost.png)

## An hour of video

One hour of 1080p ({3600 / seconds:.0f} segments with two steps each), with no instance running at the start:

{tables.hours_of_video()}
A hundred workers are hardly faster than a few dozen: Pub/Sub's push window is small at first, instances start cold, and
joining takes time. The cost of a hundred L4 is mostly idle time.

## A day of {first.jobs:,} uploads

{first.video_seconds / 3600:,.0f} hours of video. Two thirds are shorts of 15 to 60 s, the others have up to two hours.
30 % are 720p, 60 % 1080p and 10 % 4K. Uploads peak in the evening, and a fifth arrive just after a full hour. SimPy
simulates cold starts, idle instances, rejections while every instance is busy, Pub/Sub's retries by `CLOUD_RETRIES`,
instances that die while they hold a lease, and transient errors. `infra/capacity/simulated_pubsub.py` defines the push
windows: `adaptive` follows Google's page, `flood` is the worst case for attempts, and `paced` is equivalent to pulling.

{tables.outcomes(runs.day)}
A whole day of `flood` on 3 or 10 L4 is not simulated, because it has hundreds of millions of deliveries.

![Workers and backlog over the day](capacity/day.png)
![From upload to published](capacity/waits.png)

## An archive at once

{runs.archive[0].jobs} earlier videos ({runs.archive[0].video_seconds / 3600:.0f} hours)
within {ARCHIVE_SECONDS / 60:.0f} minutes, on few GPUs:

{tables.outcomes(runs.archive)}
Twice as many ({runs.large_archive[0].video_seconds / 3600:.0f} hours):

{tables.outcomes(runs.large_archive)}
## How long a segment can wait

Each delivery to a busy service uses up one of a message's attempts. Pub/Sub allows at most 100 attempts, with pauses of
at most 600 s, so the waiting time of a message is limited:

{tables.patience()}
The deployed settings (the first row) are within an hour of the longest wait that Pub/Sub allows. A longer first pause
would only slow down short queues. For a longer backlog `dead_letter` requeues a segment's message
{MAX_TASK_REQUEUES} times (*requeued* above), so that it is exhausted after {MAX_TASK_REQUEUES + 1} times as long.
By then the alert on the oldest message has been active for days. Pulling instead of pushing would need one attempt per
message, and is the fastest (`paced` above).

## Limits

The demand in the busiest hour (1.8 times the mean), without a backlog:

{tables.growth()}
The limits, sorted by the hours of video that reach them:

{tables.bottlenecks()}
Listings are not a bottleneck: merge lists the outputs of a step only once its last segment is done.

## Inputs

{tables.all_inputs()}"""


def _maximum(out: Outcome) -> int:
    return out.scenario.maximum


def _summarize_dead_letters(runs: Runs, patience: float) -> str:
    done = (*runs.day, *runs.archive, *runs.large_archive)
    dead = [out for out in done if out.dead]
    if not dead:
        requeued = sum(out.requeued for out in done)
        return (
            f"In none of {len(done)} simulated runs was a healthy segment exhausted. {requeued:,} messages that had\n"
            f"  waited for {patience:.1f} h or more were requeued."
        )
    in_a_day = sum(out.dead for out in runs.day)
    which = "; ".join(
        f"{out.video_seconds / 3600:.0f} h of video on {out.scenario.maximum} {tables.NAMES[out.scenario.kind]} "
        f"({out.dead:,} of {out.segment_messages:,})"
        for out in dead
    )
    return f"""\
In the simulated days {in_a_day} healthy segments were exhausted. **However, an archive that is uploaded at once
  to too few workers loses healthy segments in the worst case** (push window `flood`): {which}.
  A message is exhausted if every worker is busy for {patience:.1f} h, and no setting of Pub/Sub allows a longer wait
  (see below). Allow as many workers as are needed to keep the backlog well below that."""
