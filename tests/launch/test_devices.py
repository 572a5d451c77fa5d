"""Devices: what JAX_PLATFORMS asks for and is not there is one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from launch import devices

ROOT = Path(__file__).parents[2]


def test_more_devices_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(jax.config, "update", lambda *_: None)  # as for an accelerator
    devices.start(16)
    with pytest.raises(ValueError, match="this config needs 17 devices, and JAX finds 16 of cpu"):
        devices.start(17)


@pytest.mark.parametrize("platform", ["cuda", "tpu", "abacus"])
def test_an_accelerator_that_is_not_there_is_one_sentence(platform, tmp_path):
    if platform in ("cuda", "tpu") and jax.devices()[0].platform != "cpu":
        pytest.skip("there may be one")
    command = [sys.executable, "-m", "launch.train", f"--workdir={tmp_path}/never"]
    environment = os.environ | {"JAX_PLATFORMS": platform}
    refused = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 1, refused.stderr
    assert f"JAX cannot use JAX_PLATFORMS={platform}: " in refused.stderr
    assert refused.stderr.count("\n") == 1 and not (tmp_path / "never").exists()
