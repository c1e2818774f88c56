"""The text of `infra/CAPACITY.md` around its tables."""

from random import Random

from defacer.pipeline.topology import CLOUD_RETRIES, MAX_TASK_REQUEUES
from infra.capacity import tables
from infra.capacity.break_even import break_even, price_ratio
from infra.capacity.inputs import inputs
from infra.capacity.patience import ATTEMPTS, min_wait_hours
from infra.capacity.speed import SIZES, Kind, minute_price, second_price, work
from infra.capacity.uploads import (
    ARCHIVED_CLIPS,
    CLIP_SECONDS,
    archive_uploads,
    day_uploads,
    default_settings,
)
from infra.capacity.worker_queue import Outcome, simulate

SEED = 20_261_125
UPLOADS, ARCHIVE = 10_000, 300
DAY_WORKERS: tuple[tuple[Kind, int], ...] = (
    ("cpu", 100),
    ("cpu", 50),
    ("cpu", 30),
    ("gpu", 20),
    ("gpu", 10),
    ("gpu", 3),
)
ARCHIVE_WORKERS: tuple[tuple[Kind, int], ...] = (("cpu", 10), ("gpu", 10), ("gpu", 3), ("gpu", 1))


def render_capacity_page(uploads: int = UPLOADS) -> str:
    """Return the page. A day of 10,000 uploads takes a minute."""
    google, seconds = inputs()["google_face_blur_minute"], default_settings().segment_seconds
    cpu, gpu = (minute_price(kind, SIZES[1], seconds) for kind in ("cpu", "gpu"))
    gain = work("cpu", SIZES[1], seconds) / work("gpu", SIZES[1], seconds)
    videos, archived = day_uploads(uploads, Random(SEED)), archive_uploads(ARCHIVE, Random(SEED))
    day = [simulate(videos, kind, maximum) for kind, maximum in DAY_WORKERS]
    archive = [simulate(archived, kind, maximum) for kind, maximum in ARCHIVE_WORKERS]
    gpu_days = [out for out in day if out.kind == "gpu"]
    fewest, most = min(gpu_days, key=_maximum), max(gpu_days, key=_maximum)
    whole, overlapped = (
        break_even(SIZES[1], "detect", "redact"),
        break_even(SIZES[1], "detect", is_overlapped=True),
    )
    idle = (inputs()["linger_min"] + inputs()["linger_max"]) / 2 * second_price("gpu")
    patience = (MAX_TASK_REQUEUES + 1) * min_wait_hours(CLOUD_RETRIES, ATTEMPTS)
    longest = max(wait for out in (*day, *archive) for wait in out.waits)
    storage = 730 * inputs()["storage_gib_hour"]
    networks, rest = (f"{inputs()[f'gpu_{name}']:.0f}" for name in ("networks", "rest"))
    return f"""\
# Cost and capacity

*`make capacity` (`python -m infra.capacity --write`) writes this page from the inputs at the end and from constants of
the code. To change the page, change the inputs. Nothing on it was run on Google Cloud or on a GPU.*

- A minute of 1080p costs **{cpu:.4f} USD on CPU workers** at the measured speed. Google's face blur costs
  {google:.2f} USD. On an L4 it costs {gpu:.4f} USD, if the assumptions about its speed hold.
- **CPU workers are cheaper**, so they are the default of `WORKER`. An L4 instance costs {price_ratio():.1f} times as
  much per second. For 1080p it is at most
  {whole.cpu / whole.least:.1f} times as fast, whatever the speed of its networks, because its four cores decode,
  redact, check and encode. Five CPU workers cost as much as one L4 and are five times as fast. See
  [When an L4 pays](#when-an-l4-pays).
- **Idle GPUs cost more than busy ones** if few videos arrive: an idle instance is billed for another 10 to 15 minutes.
  Allow only as many as the busiest hour needs. The day below costs
  {fewest.cost / fewest.video_seconds * 60:.4f} USD per minute with {fewest.maximum} L4,
  {most.cost / most.video_seconds * 60:.4f} USD with {most.maximum}. CPU workers are billed by request
  (`cpu_idle = true`), so idle time costs nothing. Instance-based billing costs a quarter less per second and is cheaper
  above a utilization of 76 %.
- **No healthy segment is exhausted.** In these simulations a segment waits for at most
  {tables.format_duration(longest)}. A message is exhausted after {patience:.0f} h of waiting at the earliest.

## A minute of video

Worker seconds per minute of video at {inputs()["frame_rate"]:.0f} frames/s, and their cost without idle workers:

{tables.minutes()}
*Method*: the milliseconds per frame were measured on two cores at 720p and 4K. 1080p is interpolated by its number of
pixels. The networks and the check of the result process small frames, so they take the same time at each size. The
profile of `make benchmark` assigns each stage to one of the two steps. The L4's rows divide the time of the networks by
{networks} and of the rest by {rest}. These are **assumptions**. The last column has the steps detect and redact.
A segment has {seconds:g} s and an overhead. The cost is the time multiplied by the price of an
instance's CPU, memory and GPU, plus storage requests. It includes neither storage (source and
result at {storage:.2f} USD per GiB and month) nor downloads of the result (0.12 USD per GiB).

With `WORKER=gpu` a segment of 1080p is done
{gain:.1f} times as soon (at most {whole.cpu / whole.least:.1f} times), at {gpu / cpu:.1f} times the price.
Choose it only if each segment has to be done as soon as possible. More CPU workers make whole videos faster.

## When an L4 pays

The speed of the networks on an L4 is unknown. Of a minute of video, N are the seconds of the networks on two cores, R
those of all other work, and O those of the calls to storage. An L4 costs r = {price_ratio():.2f} times as much per
second. If its networks are g times as fast, it pays if

    N / g + R / {rest} + O < (N + R + O) / r

With several segments at a time the networks run beside the other work, and no core waits for storage. Then it pays if
both N / g and R / {rest} are smaller than (N + R + O) / r. Seconds per minute of video:

{tables.break_even_points()}
Where an L4 can pay, its savings are small: at most {overlapped.saving:.4f} USD per minute of 1080p. An instance that
becomes idle costs {idle:.2f} USD until Cloud Run removes it. These are the savings of
{idle / overlapped.saving / 60:.0f} hours of video.

## An hour of video

One hour of 1080p ({3600 / seconds:.0f} segments with two steps each), with no instance running at the start:

{tables.hours_of_video()}
A hundred workers are hardly faster than ten: instances start cold, and joining takes time. The cost of a hundred L4 is
mostly idle time.

## A day of {len(videos):,} uploads

{day[0].video_seconds / 3600:,.0f} hours of video. Two thirds are shorts of 15 to 60 s, the others have up to two hours.
30 % are 720p, 60 % 1080p and 10 % 4K. Uploads peak in the evening, and a fifth arrive just after a full hour. The
simulation (`infra/capacity/worker_queue.py`) has cold starts, idle instances and one queue of segments. Pub/Sub's push
window grows with each success, so a deployment can start more slowly. Dead instances are not simulated.

{tables.outcomes(day)}
## An archive at once

{len(archived)} earlier videos ({archive[0].video_seconds / 3600:.0f} hours) that are uploaded at the same time:

{tables.outcomes(archive)}
## An archive beside a clip

One channel uploads {ARCHIVED_CLIPS} clips of {CLIP_SECONDS:.0f} s at once. Ten other channels upload a clip of the same
length each, 40 s apart. With a share of the queue for each channel, the archive has fewer than three segments per
worker in the queue. So a clip takes at most **four times** as long as alone. The table shows the slowest of the ten:

{tables.fairness()}
## How long a segment can wait

Each delivery to a busy service uses up one of a message's attempts. Pub/Sub allows at most 100 attempts, with pauses of
at most 600 s, so the waiting time of a message is limited:

{tables.patience()}
The deployed settings (the first row) are within an hour of the longest wait that Pub/Sub allows. A longer first pause
would only slow down short queues. For a longer backlog `dead_letter` requeues a segment's message
{MAX_TASK_REQUEUES} times, so that it is exhausted after {MAX_TASK_REQUEUES + 1} times as long.
By then the alert on the oldest message has been active for days. Pulling instead of pushing would need one attempt per
message.

## Limits

The demand in the busiest hour (1.8 times the mean), without a backlog:

{tables.growth()}
The limits, sorted by the hours of video that reach them:

{tables.bottlenecks()}
Listings are not a bottleneck: merge lists the outputs of a step only once its last segment is done.

## Inputs

{tables.all_inputs()}"""


def _maximum(out: Outcome) -> int:
    return out.maximum
