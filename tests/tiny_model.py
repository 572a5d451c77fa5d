"""A tiny citizen of every part of the model: splits over 1, 2 or 4 devices, and holds no zeros."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import keystr, tree_map_with_path

from stepjax.data.examples import num_patches
from stepjax.model.step_audio import ModelConfig

VOCAB = 32
PATCHES_FROM = 2  # where a row's audio begins


def config(dtype="float32") -> ModelConfig:
    encoder = dict(mels=128, width=16, heads=4, hidden=32, layers=2, remat=False)
    decoder = dict(width=16, heads=8, kv_heads=4, head_size=4, hidden=24, layers=2, norm_eps=1e-6,
                   rope_theta=10_000.0, remat=False)  # fmt: skip
    return ModelConfig(dtype=dtype, adaptor_hidden=12, encoder=encoder, decoder=decoder)


def filled(make, seed=0):
    """The module that `make(rngs)` describes, with noise in every parameter: biases and norms do
    something.
    """
    graph, shapes = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(params=0))), nnx.Param)
    rng = np.random.default_rng(seed)

    def fill(path, x):
        noise = rng.normal(scale=0.25, size=x.shape).astype(np.float32)
        return jnp.asarray(noise + 1 if "scale" in keystr(path) else noise)

    return nnx.merge(graph, tree_map_with_path(fill, nnx.to_pure_dict(shapes)))


def batch(samples=(5000, 1700, 400), padded_to=5120, tokens=16, seed=0) -> dict[str, np.ndarray]:
    """Rows of sound of different lengths, and the tokens read with them."""
    rng = np.random.default_rng(seed)
    audio, audio_at = (
        np.zeros((len(samples), padded_to), np.float32),
        np.full((len(samples), tokens), -1, np.int32),
    )
    for row, n in enumerate(samples):
        audio[row, :n] = rng.normal(scale=0.1, size=n)
        audio_at[row, PATCHES_FROM : PATCHES_FROM + num_patches(n)] = np.arange(num_patches(n))
    return {
        "audio": audio,
        "samples": np.array(samples, np.int32),
        "tokens": rng.integers(0, VOCAB, size=audio_at.shape).astype(np.int32),
        "audio_at": audio_at,
    }
