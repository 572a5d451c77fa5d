"""The speech engine speaks, the same every time, and takes nothing down with it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stepjax.audio import speech
from stepjax.audio.sentences import GRAMMARS, grammar
from stepjax.audio.speech import Line, speak

HELLO = Line("the girl sees two apples", "en-us+f2")


@pytest.fixture
def engine_like(tmp_path, monkeypatch):
    """Puts a script of the test's own in the engine's place."""

    def replace(script: str) -> None:
        path = tmp_path / "engine.py"
        path.write_text(f"import os, signal, struct, sys, time\n{script}")
        monkeypatch.setattr(speech, "ENGINE", path)

    return replace


def same(these, those):
    return len(these) == len(those) and all(map(np.array_equal, these, those))


def test_a_line_sounds_the_same_alone_and_after_others():
    lines = [HELLO, Line("mal den Ball", "de+m3", 200, 20), HELLO, Line("nu", "nl+f4"), HELLO]
    together = speak(lines)
    assert same(together[::2], [together[0]] * 3)
    assert same([together[3], together[1]], speak([lines[3], lines[1]]))


def test_batches_make_no_difference(monkeypatch):
    lines = [Line(f"number {k}", "en-us+m1") for k in range(7)]
    at_once = speak(lines)
    monkeypatch.setattr(speech, "LINES_PER_PROCESS", 3)
    assert same(at_once, speak(lines))


def test_nothing_to_say_starts_no_process(engine_like):
    engine_like("sys.exit('started')")
    assert speak([]) == []


def test_speech_is_loud_short_and_at_16_khz():
    (audio_T,) = speak([HELLO])
    assert audio_T.dtype == np.float32
    assert 1.0 < len(audio_T) / 16_000 < 2.2
    assert 0.2 < np.abs(audio_T).max() < 1.0


def test_speed_pitch_voice_and_text_are_heard():
    slow, fast, low, high, other, words = speak([
        Line("one two three", "en-us", speed=120), Line("one two three", "en-us", speed=240),
        Line("one two three", "en-us", pitch=10), Line("one two three", "en-us", pitch=90),
        Line("one two three", "en-us+f3"), Line("one two four", "en-us")])  # fmt: skip
    assert len(slow) > 1.5 * len(fast)
    assert _hertz(high) > 1.3 * _hertz(low)
    assert not np.array_equal(other, words)


def _hertz(audio_T):
    """The pitch of the whole, by autocorrelation between 60 and 400 Hz."""
    spectrum = np.abs(np.fft.rfft(audio_T, 2 * len(audio_T))) ** 2
    lags = np.fft.irfft(spectrum)[40:267]
    return 16_000 / (40 + np.argmax(lags))


@pytest.mark.parametrize("language", GRAMMARS)
def test_every_language_has_a_voice(language):
    (audio_T,) = speak([Line(grammar(language).sentence(100), f"{language}+f1")])
    assert len(audio_T) > 8_000


@pytest.mark.parametrize("fields, message", [
    (dict(text=" "), "text=' ' cannot be spoken: it needs a character"),
    (dict(voice="en-us+zz"), "voice='en-us.zz' has no variant 'zz': choose .*, f1, f2, "),
    (dict(speed=20), "speed=20 words a minute is not within 80 to 450"),
    (dict(pitch=100), "pitch=100 is not within 0 to 99"),
])  # fmt: skip
def test_lines_refuse_nonsense(fields, message):
    with pytest.raises(ValueError, match=message):
        Line(**{"text": "hello", "voice": "en-us", **fields})


def test_a_voice_that_does_not_exist_is_named():
    with pytest.raises(
        speech.SpeechError, match="stopped at .*'xx'.*: ValueError: eSpeak NG has no voice 'xx'"
    ):
        speak([HELLO, Line("hello", "xx")])


def test_a_crash_of_the_engine_names_the_line_and_spares_us(engine_like):
    engine_like(
        "sys.stdout.buffer.write(struct.pack('=IIhh', 16000, 2, 1, 2)); sys.stdout.flush()\n"
        "os.kill(os.getpid(), signal.SIGSEGV)"
    )
    with pytest.raises(speech.SpeechError, match="stopped at .*second.*: exit code -11"):
        speak([Line("first", "en"), Line("second", "en")])


def test_an_answer_that_breaks_off_is_an_error(engine_like):
    engine_like("sys.stdin.read(); sys.stdout.buffer.write(struct.pack('=IIh', 16000, 2, 1))")
    with pytest.raises(speech.SpeechError, match="stopped at .*hello"):
        speak([Line("hello", "en")])


@pytest.mark.parametrize("ending", ["too late", "interrupted"])
def test_an_engine_that_hangs_is_ended_with_its_forks(engine_like, monkeypatch, tmp_path, ending):
    pids = tmp_path / "pids"
    engine_like(
        f"os.fork(); print(os.getpid(), file=open({str(pids)!r}, 'a'), flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(speech, "SECONDS_TO_START", 1.0 if ending == "too late" else 60.0)
    monkeypatch.setattr(speech, "SECONDS_PER_LINE", 0.0)
    if ending == "interrupted":
        before = signal.signal(
            signal.SIGALRM, signal.default_int_handler
        )  # what Ctrl-C does, one second on
        signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(speech.SpeechError if ending == "too late" else KeyboardInterrupt):
            speak([HELLO])
    finally:
        if ending == "interrupted":
            signal.signal(signal.SIGALRM, before)
    for pid in map(int, pids.read_text().split()):
        _wait_until_gone(pid)


def _wait_until_gone(pid):
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}/status").exists():
        if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        assert time.monotonic() < until
        time.sleep(0.05)


def test_the_engine_itself_reports_a_fork_that_dies():
    script = (
        "import runpy, os, signal\n"
        f"engine = runpy.run_path({str(speech.ENGINE)!r})\n"
        "class Deadly:\n"
        "    def speak(self, **request): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "engine['answer'](Deadly(), b'{}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr.strip()) == (1, "eSpeak NG was ended by SIGSEGV.")


def test_a_request_that_is_no_request_ends_the_engine():
    request = json.dumps({"text": "hello"}) + "\n"
    done = subprocess.run(
        [sys.executable, speech.ENGINE], input=request, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 1
    assert "missing 3 required positional arguments: 'voice', 'speed', and 'pitch'" in done.stderr


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="needs Linux's list of loaded libraries"
)
def test_the_library_stays_out_of_this_process():
    speak([HELLO])
    assert "libespeak" not in Path("/proc/self/maps").read_text()
