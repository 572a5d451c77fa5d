"""Commands end in order: one sentence and an exit code, whoever made the mistake, whenever Ctrl-C
comes.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 60  # seconds, on a busy machine


def script(tmp_path: Path, body: str, words: str = "") -> list[str]:
    """A command whose `main` has this body."""
    path = tmp_path / "job.py"
    path.write_text(
        f'"""Does a job."""\n\nfrom launch import command\n\n\ndef main({words}) -> None:\n'
        f"{textwrap.indent(textwrap.dedent(body), '    ')}\n\ncommand.run(main, words={words!r})\n"
    )
    return [sys.executable, str(path)]


def run(command: list[str], **changes: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | changes
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT
    )


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("pass", 0, ""),
        ("return 1", 1, ""),
        ("raise ValueError('steps=0 is few;\\n  use 1.')", 1, "steps=0 is few; use 1."),
        ("raise RuntimeError('no ring is left.')", 1, "no ring is left."),
        ("open('/nowhere/at/all')", 1, "/nowhere/at/all: No such file or directory."),
        ("import os; os.write(os.open('/dev/full', os.O_WRONLY), b'x')", 1, "No space left"),
        ("bytes(10**18)", 1, "there is too little memory for this: no more can be had"),
        ("import numpy; numpy.zeros(10**17)", 1, "little memory for this: Unable to allocate"),
        ("raise KeyboardInterrupt('stopped before step 3.')", 130, "stopped before step 3."),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_is_one_sentence(body, code, said, tmp_path):
    done = run(script(tmp_path, body))
    assert done.returncode == code and said in done.stderr, done.stderr
    assert done.stderr.count("\n") == bool(said)


@pytest.mark.parametrize(
    "body",
    [
        "int('x')",  # a ValueError that no line of ours has put in words
        "a, b = [1]",
        "import numpy; numpy.zeros(3).reshape(2, 2)",  # one from inside a library
        "raise KeyError('a')",
        "assert False",
        "try:\n    int('x')\nexcept ValueError:\n    raise",
    ],
)
def test_a_bug_has_its_traceback_and_says_that_it_is_one(body, tmp_path):
    done = run(script(tmp_path, body))
    assert done.returncode == 70 and "Traceback" in done.stderr
    assert done.stderr.endswith("This is a bug in StepJAX; please report it with the text above.\n")


def test_an_error_of_ours_that_comes_through_a_thread_is_still_the_users(tmp_path):
    body = """
    from concurrent.futures import ThreadPoolExecutor
    def read(name):
        raise ValueError(f"{name} is no recording.")
    with ThreadPoolExecutor() as pool:
        list(pool.map(read, ["a.wav"]))
    """
    done = run(script(tmp_path, body))
    assert done.returncode == 1 and done.stderr == "a.wav is no recording.\n"


def test_a_reader_that_goes_away_leaves_no_traceback(tmp_path):
    command = script(tmp_path, "for n in range(100_000): print(n)")
    shell = f"{' '.join(command)} | head -1; exit ${{PIPESTATUS[0]}}"
    done = run(["bash", "-c", shell])
    assert done.returncode == 1 and done.stdout == "0\n"
    assert done.stderr == "Broken pipe.\n"


def test_a_full_disk_behind_the_output_is_an_error(tmp_path):
    done = run(["bash", "-c", f"{' '.join(script(tmp_path, 'print(1)'))} > /dev/full"])
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "No space" in done.stderr


def interrupted(command: list[str], number: int = signal.SIGINT, times: int = 1) -> tuple:
    """A process that is sent a signal once it has printed a line: exit code, stderr, seconds."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            process.stdout.readline()
            began = time.monotonic()
            for _ in range(times):
                process.send_signal(number)
                time.sleep(0.2)
            _, said = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
    return process.returncode, said, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_in_order_without_a_child_or_a_folder(number, tmp_path):
    body = f"""
    import subprocess, sys, tempfile, time
    with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}, prefix="left-") as folder:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"]) as child:
            try:
                print(child.pid, flush=True)
                time.sleep(99)
            finally:
                time.sleep(0.5)  # a second Ctrl-C does not disturb what closes
                child.kill()
    """
    code, said, seconds = interrupted(script(tmp_path, body), number, times=3)
    assert (code, said) == (130, "interrupted.\n") and seconds < LIMIT / 2
    assert not list(tmp_path.glob("left-*"))


def test_ctrl_c_is_not_lost_in_a_destructor_or_an_import(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nprint('here', flush=True)\ntry:\n    time.sleep(1)\n"
        "except BaseException:\n    pass\n"
    )
    code, said, _ = interrupted(script(tmp_path, "import slow, time\ntime.sleep(99)"))
    assert (code, said) == (130, "interrupted.\n")
    body = """
    import time
    class Slow:
        def __del__(self):
            print("here", flush=True)
            time.sleep(1)
    slow = Slow()
    del slow
    time.sleep(99)
    """
    assert interrupted(script(tmp_path, body))[:2] == (130, "interrupted.\n")


def test_ctrl_c_ends_a_process_that_hears_no_signal(tmp_path):
    body = """
    import hashlib
    print("here", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes outside Python, as in a compilation
    """
    code, said, seconds = interrupted(script(tmp_path, body))
    assert (code, said) == (130, "interrupted.\n") and seconds < LIMIT / 2


def test_ctrl_c_while_modules_are_imported_ends_at_once(tmp_path):
    (tmp_path / "slow.py").write_text("print('here', flush=True)\nimport time; time.sleep(99)\n")
    body = "with command.importing():\n    import slow"
    assert interrupted(script(tmp_path, body))[:2] == (130, "interrupted.\n")
