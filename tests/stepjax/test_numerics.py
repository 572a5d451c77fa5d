"""Whatever the environment asks for, a run calculates as every other, or says what it cannot do."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from parallel.spmd import executables
from stepjax import numerics

ROOT = Path(__file__).parents[2]
DEFAULTS = """
import jax
from stepjax.numerics import SETTINGS
assert {name: jax.config.values[name] for name in SETTINGS} == SETTINGS
"""


@pytest.fixture(autouse=True, scope="module")
def xla_has_read_its_flags():
    """It does so once, and ends the process if it does not know one."""
    jax.devices()


@pytest.fixture
def as_before():
    before = {name: jax.config.values[name] for name in numerics.SETTINGS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_settings_of_a_run_are_those_of_an_environment_that_asks_for_nothing():
    done = subprocess.run(
        [sys.executable, "-c", DEFAULTS], cwd=ROOT, env={"JAX_PLATFORMS": "cpu"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0


def test_what_the_environment_asks_for_is_set_right(as_before):
    asked = {
        "jax_enable_x64": True, "jax_default_matmul_precision": "bfloat16",
        "jax_default_prng_impl": "rbg", "jax_threefry_partitionable": False,
        "jax_numpy_dtype_promotion": "strict",
    }  # fmt: skip
    for name, value in asked.items():
        jax.config.update(name, value)
    numerics.settle()
    assert {name: jax.config.values[name] for name in numerics.SETTINGS} == numerics.SETTINGS


@pytest.mark.parametrize("flag", ["--xla_cpu_enable_fast_math", "--xla_cpu_enable_fast_math=true"])
def test_loose_arithmetic_is_refused(monkeypatch, flag):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_dump_to=/tmp/x {flag}")
    with pytest.raises(ValueError, match=f"XLA_FLAGS has {flag}, .* leave it out"):
        numerics.settle()


def test_arithmetic_that_is_said_to_be_strict_is_not(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    numerics.settle()
    assert "--xla_cpu_enable_fast_math=false" in numerics.facts()["settings.XLA_FLAGS"]


def test_flags_are_told_in_one_order_and_without_those_that_change_nothing(monkeypatch):
    said = "--xla_b=2 --xla_dump_to=/tmp/x --xla_force_host_platform_device_count=4 --xla_a=1"
    monkeypatch.setenv("XLA_FLAGS", said)
    assert numerics.facts()["settings.XLA_FLAGS"] == "--xla_a=1 --xla_b=2"


def test_flags_may_stand_in_a_file(monkeypatch, tmp_path):
    (tmp_path / "flags").write_text("--xla_b=2\n--xla_a=1\n")
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    assert numerics.facts()["settings.XLA_FLAGS"] == "--xla_a=1 --xla_b=2"


POOL = """
import sys
import jax, jax.numpy as jnp, numpy as np
from stepjax import numerics
numerics.fix_threads(num_devices=int(sys.argv[1]))
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
rng = np.random.default_rng(0)
x, y = rng.normal(size=(3, 448, 384)), rng.normal(size=(3, 448, 4))
def sums(n, x, y):
    add = lambda i, total: total + jnp.einsum("TI,TO->IO", x[i], jnp.sin(y[i]))
    return jax.lax.fori_loop(0, n, add, jnp.zeros((384, 4), jnp.float32))
options = numerics.REPRODUCIBLE["cpu"]
made = jax.jit(sums, compiler_options=options)(3, np.float32(x), np.float32(y))
print(np.asarray(made).tobytes().hex())
"""


def test_the_bits_of_a_product_do_not_depend_on_how_many_threads_or_devices_there_are():
    made = set()
    for devices, threads in ((2, "2"), (4, "16"), (16, "1")):
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "NPROC": threads}
        child = [sys.executable, "-c", POOL, str(devices)]
        done = subprocess.run(
            child, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        made.add(done.stdout)
    assert len(made) == 1


def test_programs_for_one_device_are_compiled_like_those_for_many():
    assert numerics.REPRODUCIBLE == executables.REPRODUCIBLE


def test_facts_are_text():
    facts = numerics.facts()
    assert all(isinstance(value, str) for value in facts.values())
    assert facts["software.jax"] == jax.__version__ and facts["machine.platform"].startswith("cpu")
