"""Run every row through the engine and write the table: python -m tests.inputs.

With names as arguments, it runs the rows whose name contains one of them, and does not write the table.
"""

import sys
import tempfile
import traceback
from pathlib import Path

from defacer.engine.engine import Engine
from defacer.engine.errors import EngineError
from tests.inputs.all_rows import ROWS
from tests.inputs.judge import judge
from tests.inputs.rows import Row
from tests.inputs.run_engine import deface
from tests.inputs.table import README, document


def main() -> int:
    chosen = [row for row in ROWS if not sys.argv[1:] or any(word in row.name for word in sys.argv[1:])]
    engine, outcomes, failures = Engine(), {}, 0
    for row in chosen:
        try:
            outcomes[row.name] = _run_row(row, engine)
        except Exception:  # noqa: BLE001 - the other rows run too
            failures += 1
            outcomes[row.name] = "FAILED"
            traceback.print_exc(limit=-3)
        print(f"{row.name}: {outcomes[row.name]}", file=sys.stderr)
    if len(chosen) == len(ROWS) and not failures:
        README.write_text(document(outcomes))
    return 1 if failures else 0


def _run_row(row: Row, engine: Engine) -> str:
    with tempfile.TemporaryDirectory(prefix="defacer-inputs-") as folder:
        source, out = row.make(Path(folder)), Path(folder) / "out.mp4"
        try:
            options = row.options
            faces, joined = deface(engine, source, out, options, row.segment_seconds)
        except EngineError as error:
            if row.expected == "same":
                raise
            return f"refused: {error}"
        assert row.expected == "same", "it was not refused"
        return judge(row, source, out, faces, joined.changes)


if __name__ == "__main__":
    sys.exit(main())
