"""The devices that a command computes on: emulated ones on CPUs, or those that JAX finds."""

import os

import jax

from stepjax import numerics


def start(count: int) -> None:
    """Makes `count` devices ready; on CPUs they are emulated.

    Raises: ValueError, in one sentence, if what JAX_PLATFORMS asks for is not there, or too few.
    """
    numerics.settle()
    numerics.fix_threads(count)
    jax.config.update("jax_num_cpu_devices", max(1, count))
    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        found = jax.devices()
    except Exception as error:  # of several types, by what is missing
        raise ValueError(
            f"JAX cannot use JAX_PLATFORMS={asked}: {_reason(error)}; install JAX for that "
            "accelerator, or unset JAX_PLATFORMS."
        ) from error
    if len(found) < count:
        raise ValueError(
            f"this config needs {count} devices, and JAX finds {len(found)} of "
            f"{found[0].device_kind}: use fewer nodes, or JAX_PLATFORMS=cpu for emulated devices."
        )


def _reason(error: Exception) -> str:
    """
    >>> _reason(RuntimeError("Unable to initialize backend 'tpu': no libtpu.so (set JAX_...)"))
    "Unable to initialize backend 'tpu': no libtpu.so"
    """
    return str(error).split(" (set ")[0].rstrip(".") or "nothing of the kind is installed"
