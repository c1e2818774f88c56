"""Test that headless Chromium plays converted sound: the tone of the source, and no noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.engine.test_passthrough import join_video
from tests.inputs.test_players import BROWSER, browser, serve
from tests.inputs.write_video import Sound, Video

HERTZ = 1000
PAGE = """<!doctype html><video id=v src=out.mp4></video><script>
const v = document.getElementById('v'), context = new AudioContext(), wave = new Float32Array(8192);
const analyser = context.createAnalyser(); analyser.fftSize = wave.length;
context.createMediaElementSource(v).connect(analyser).connect(context.destination);
const report = what => fetch('/report', {method: 'POST', body: JSON.stringify(what)});
const listen = () => {
  analyser.getFloatTimeDomainData(wave);
  if (v.currentTime < 1 || !wave.some(x => Math.abs(x) > 0.01)) {
    if (v.ended) report({error: 'silent'}); else requestAnimationFrame(listen);
    return;
  }
  report({wave: Array.from(wave), rate: context.sampleRate}); };
v.onerror = () => report({error: v.error.message});
v.oncanplaythrough = () => { v.oncanplaythrough = null; v.play().then(listen); };
</script>"""
KINDS = {
    "in.mov": Sound("pcm_s24be", hertz=HERTZ),
    "a-law.mov": Sound("pcm_alaw", rate=8000, layout="mono", hertz=HERTZ),
    "in.mkv": Sound("wavpack", hertz=HERTZ),
    "ima4.mov": Sound("adpcm_ima_qt", rate=22_050, layout="mono", hertz=HERTZ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(KINDS))
def test_browser_plays_the_tone_of_converted_sound(name: str, tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("chromium is not on the PATH. Run `apt-get install chromium`.")
    join_video(tmp_path, Video(sound=(KINDS[name],)), name)
    (tmp_path / "index.html").write_text(PAGE)
    with serve(tmp_path) as (url, reports), browser(f"{url}/index.html", tmp_path / "profile"):
        found = reports.get(timeout=120)
    assert "error" not in found, json.dumps(found)
    power = np.abs(np.fft.rfft(np.array(found["wave"]) * np.hanning(len(found["wave"])))) ** 2
    hertz = np.fft.rfftfreq(len(found["wave"]), 1 / found["rate"])
    assert abs(hertz[np.argmax(power)] - HERTZ) < 10
    assert power[np.abs(hertz - HERTZ) < 30].sum() / power.sum() > 0.98
