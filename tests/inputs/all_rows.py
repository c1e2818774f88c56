"""All rows of the table of inputs."""

from tests.inputs import rows
from tests.inputs.clock_rows import CLOCKS, RECORDINGS
from tests.inputs.sound_rows import SOUND

ROWS = [*rows.ROWS, *CLOCKS, *RECORDINGS, *SOUND]
