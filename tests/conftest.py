"""Strict ground for every test: 16 emulated devices, no silent rank promotion, warnings are errors,
no clock.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")
jax.config.update("jax_num_cpu_devices", 16)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite stored outputs instead of comparing"
    )


@pytest.fixture
def update_golden(request) -> bool:
    return request.config.getoption("--update-golden")
