"""Random numbers by name: the same for the same words, whatever else was drawn before."""

import hashlib

import numpy as np


def generator(seed: int, *words) -> np.random.Generator:
    """The generator of one thing, for example of training sample 7.

    >>> int(generator(0, "train", 7).integers(1_000_000))
    201568
    """
    digest = hashlib.blake2b("/".join(map(str, (seed, *words))).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, "<u8").astype(np.uint64)))


def share(word: str) -> float:
    """A number in [0, 1) that belongs to `word` for ever; it decides who is held out."""
    digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53
