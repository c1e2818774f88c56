from pathlib import Path

from defacer_emulator.processes.logs import LogFollower, read_tail, shorten_line


def test_json_line_is_shortened_to_message_job_and_segment() -> None:
    line = '{"severity": "INFO", "message": "segment redacted", "time": "now", "job": "abc", "segment": 0, "frames": 3}'

    assert shorten_line(line) == "INFO segment redacted job=abc segment=0"


def test_shortened_error_keeps_its_code_and_class() -> None:
    line = '{"severity": "ERROR", "message": "the job failed", "code": "not-a-video", "error": "VideoError"}'

    assert shorten_line(line) == "ERROR the job failed code=not-a-video error=VideoError"


def test_other_lines_are_not_shortened() -> None:
    for line in ("plain text", "[1, 2]", '{"no": "text"}', "7"):
        assert shorten_line(line) == line


def test_follower_yields_each_complete_line_once(tmp_path: Path) -> None:
    first, second = tmp_path / "a.log", tmp_path / "b.log"
    first.write_text("one\ntw")
    second.write_text("")
    follower = LogFollower((("a", first), ("other", second)))

    assert list(follower.new_lines()) == ["a     | one"]
    first.write_text("one\ntwo\n")
    second.write_text("three\n")
    assert list(follower.new_lines()) == ["a     | two", "other | three"]
    assert list(follower.new_lines()) == []


def test_tail_has_the_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n" for number in range(5000)))

    lines = read_tail(log).splitlines()

    assert len(lines) == 15
    assert lines[-1] == "    line 4999"
    assert "is empty" in read_tail(tmp_path / "none.log")
