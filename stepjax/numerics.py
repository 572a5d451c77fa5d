"""What decides the bits of a computation, beside the computation: settings, software and machine.

What can be set right is set right by `settle`; what would break the promise that equal runs have
equal bits is refused; all else is told by `facts`, so that a run goes on only where it is the same.
"""

import importlib.metadata
import os
import platform
import shlex
from pathlib import Path

import jax
import soundfile

# Of JAX, each with the value that every run has, whatever the environment says.
SETTINGS = {
    "jax_enable_x64": False,
    "jax_default_matmul_precision": None,
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_enable_custom_prng": False,
    "jax_random_seed_offset": 0,
    "jax_softmax_custom_jvp": False,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
}
# Of XLA, by platform: as `parallel.spmd.executables` compiles, for programs that it does not.
REPRODUCIBLE = {
    "cpu": {"xla_cpu_multi_thread_eigen": False},
    "gpu": {"xla_gpu_deterministic_ops": True},
}
THREADS = 64  # of XLA's pool on CPUs; see fix_threads
LOOSE = ("fast_math", "fast_min_max")  # parts of names of XLA's flags that loosen arithmetic
QUIET = (
    "--xla_dump",
    "--xla_force_host_platform_device_count",
    "--xla_gpu_cuda_data_dir",
    "--xla_cpu_collective_timeout_seconds",
)
ENVIRONMENT = (  # variables by which libraries below XLA are told how to calculate
    "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA",
    "DNNL_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA", "OPENBLAS_CORETYPE",
)  # fmt: skip
SOFTWARE = ("jax", "jaxlib", "numpy", "flax", "optax", "grain", "soxr")
VECTORS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "asimd",
    "sve",
)


def settle() -> None:
    """Sets JAX as every run has it. Call it before anything is computed.

    Raises: ValueError, in one sentence, if XLA_FLAGS ask for loose arithmetic.
    """
    for flag in _flags():
        name, _, value = flag.partition("=")
        if any(part in name for part in LOOSE) and value.lower() not in ("false", "0"):
            raise ValueError(
                f"XLA_FLAGS has {flag}, with which sums depend on how a program was compiled: "
                "leave it out."
            )
    for name, value in SETTINGS.items():
        jax.config.update(name, value)


def fix_threads(num_devices: int) -> None:
    """Makes bits independent of how many cores there are. Call it before JAX makes its devices.

    XLA on CPUs splits work over a pool of threads, `xla_cpu_multi_thread_eigen` or not. In a sum
    over rows, and in products other than those of `stepjax.model.product`, the parts depend on the
    number of threads: that of the cores, unless NPROC says another, and at least one for each
    emulated device. With twice as many, half of them are free to compute while the devices wait for
    each other.
    """
    os.environ["NPROC"] = str(max(THREADS, 2 * num_devices))


def facts() -> dict[str, str]:
    """All that decides numbers and is not the same everywhere: its name -> what it is here."""
    device = jax.devices()[0]
    software = {f"software.{name}": importlib.metadata.version(name) for name in SOFTWARE}
    return {
        **{f"settings.{name}": str(value) for name, value in SETTINGS.items()},
        "settings.NPROC": _threads(),
        "settings.XLA_FLAGS": " ".join(flag for flag in _flags() if not flag.startswith(QUIET)),
        **{f"settings.{name}": os.environ.get(name, "") for name in ENVIRONMENT},
        **software,
        "software.libsndfile": soundfile.__libsndfile_version__,
        "machine.platform": f"{device.platform} {device.client.platform_version}",
        "machine.devices": ", ".join(sorted({device.device_kind for device in jax.devices()})),
        "machine.cpu": f"{platform.machine()} {' '.join(_vectors())}",
    }


def _threads() -> str:
    """Of XLA's pool on CPUs; see fix_threads."""
    allowed = getattr(os, "sched_getaffinity", None)  # not every system tells
    return os.environ.get("NPROC") or str(len(allowed(0)) if allowed else os.cpu_count())


def _flags() -> list[str]:
    """XLA_FLAGS in order of their names; they may also be the name of a file that holds them."""
    text = os.environ.get("XLA_FLAGS", "").strip()
    if text and not text.startswith("-"):
        text = Path(text).read_text()
    return sorted(shlex.split(text))


def _vectors() -> list[str]:
    """The CPU's instructions for vectors, by which compilers choose how to add."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    known = {
        word for line in lines if line.startswith(("flags", "Features")) for word in line.split()
    }
    return [name for name in VECTORS if name in known]
