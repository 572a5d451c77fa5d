"""A node that cannot take part says why in one sentence. Whole runs are in test_machines.py."""

import subprocess
import sys

import pytest
from tiny_command import FAST, ROOT

from launch import meeting
from parallel.elastic.processes.wire import Office

KEY = "known to the nodes of one run"


def refused(*arguments: str, key: str = KEY) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "launch.node", *arguments],
        cwd=ROOT, env=FAST | {meeting.KEY: key}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_node_of_another_run_is_sent_away():
    office = Office(b"of another run", None)
    where = "{}:{}".format(*office.address)
    try:
        said = refused(f"--address={where}", "--node=0")
    finally:
        office.close()
    assert said == f"who answers at {where} is no supervisor with this key.\n"


def test_a_node_without_a_number_is_told_so():
    assert "--node=''" in refused("--address=127.0.0.1:8476")


@pytest.mark.parametrize(
    "address", ["", "8476", ":8476", "host:", "host:0", "host:65536", "a:b", "0.0.0.0:8476"]
)
def test_an_address_has_a_host_and_a_port(address, monkeypatch):
    monkeypatch.setenv(meeting.KEY, KEY)
    with pytest.raises(ValueError, match="HOST:PORT by which others reach the"):
        meeting.at(address)


@pytest.mark.parametrize("key", [None, "", "short and known"])
def test_a_key_must_be_there_and_long_and_is_not_repeated(key, monkeypatch):
    monkeypatch.delenv(meeting.KEY, raising=False)
    if key is not None:
        monkeypatch.setenv(meeting.KEY, key)
    with pytest.raises(ValueError, match=f"variable STEPJAX_KEY holds {len(key or '')} ch") as said:
        meeting.at("host:8476")
    assert "known" not in str(said.value)
