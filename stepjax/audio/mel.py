"""The log-mel front end of Step-Audio 2: 16 kHz samples in, 100 frames of 128 bins a second out.

   B batch   T samples   F frames   C hop-long chunks   W window   K frequencies   M mel bins

Whisper's front end (Radford et al. 2022; openai/whisper, audio.py), with 479 zeros appended to each
row. NumPy and jax arrays go through the same lines; nothing branches on a value, so all can be
jitted.
"""

import functools

import jax
import numpy as np

SAMPLE_RATE = 16_000  # samples per second
HOP = 160  # samples
WINDOW = 400  # samples: 25 ms
FRAMES_PER_SECOND = SAMPLE_RATE // HOP  # 100: one frame is 10 ms
NUM_MELS = 128
TAIL = 479  # zeros appended to every row, so that even one sample gives 3 frames
EDGE = WINDOW // 2  # samples: frame f is centred on sample f * HOP; mirrored before sample 0

FLOOR = 1e-10  # power that counts as none
RANGE = 8.0  # powers of ten below the row's loudest bin that are kept: 80 dB


def num_frames(num_samples):
    """Frames of rows with `num_samples` samples, an integer or an array of them.

    >>> num_frames(16_000)
    102
    """
    return (num_samples + TAIL) // HOP


def log_mel(audio_BT, samples_B):
    """Normalised log-mel spectra of rows that hold `samples_B` samples and zeros after them.

    Each row comes out as it would alone, whatever it is padded to.
    Returns: mel_BFM [B, num_frames(T), 128]; zero beyond a row's own frames.
    """
    log_power_BFM = log_power(audio_BT, 0, num_frames(audio_BT.shape[1]))
    return normalise(log_power_BFM, num_frames(samples_B))


def log_power(audio_BT, first_frame, num_frames):
    """log10 of the mel power of `num_frames` frames from `first_frame` on, which may be traced.

    The devices of a ring can so compute a part of the frames each. Frames past the end of a row are
    silent.
    Args:     audio_BT: float32, zeros after each row's own samples.
    Returns:  [B, num_frames, 128].
    """
    xp = audio_BT.__array_namespace__()
    frames_BFW = _frames(xp, audio_BT, first_frame, num_frames)
    spectrum_BFK = xp.fft.rfft(frames_BFW * _window()[None, None, :], axis=-1)
    power_BFK = spectrum_BFK.real**2 + spectrum_BFK.imag**2
    with jax.default_matmul_precision("float32"):  # accelerators would round the powers to bfloat16
        mel_BFM = power_BFK @ mel_filters().T
    return xp.log10(xp.maximum(mel_BFM, FLOOR))


def normalise(log_power_BFM, frames_B):
    """Keeps each row's loudest 80 dB, the loudest bins near 1; zero beyond `frames_B`."""
    xp = log_power_BFM.__array_namespace__()
    inside_BF1 = (xp.arange(log_power_BFM.shape[1])[None, :] < frames_B[:, None])[:, :, None]
    peak_B11 = xp.max(xp.where(inside_BF1, log_power_BFM, -xp.inf), axis=(1, 2), keepdims=True)
    scaled_BFM = (xp.maximum(log_power_BFM, peak_B11 - RANGE) + 4.0) / 4.0
    return xp.where(inside_BF1, scaled_BFM, 0.0)


def _frames(xp, audio_BT, first_frame, num_frames):
    """Windows of 400 samples every 160, gathered as chunks of one hop: a frame is 2.5 of them."""
    B, T = audio_BT.shape
    right = TAIL + (-(EDGE + T + TAIL)) % HOP  # to whole chunks; the last hold only zeros
    mirrored_BT = xp.pad(audio_BT, ((0, 0), (0, EDGE)))[:, EDGE:0:-1]
    padded_BT = xp.concat([mirrored_BT, xp.pad(audio_BT, ((0, 0), (0, right)))], axis=1)
    chunks_BCH = padded_BT.reshape(B, -1, HOP)
    wanted_C = first_frame + xp.arange(num_frames + 2)
    # past the end: the last chunk, silence
    chunks_BCH = xp.take(chunks_BCH, wanted_C, axis=1, mode="clip")
    half_BCH = chunks_BCH[:, 2:, : WINDOW - 2 * HOP]
    return xp.concat([chunks_BCH[:, :-2], chunks_BCH[:, 1:-1], half_BCH], axis=-1)


@functools.cache
def _window() -> np.ndarray:
    """Hann, periodic: its 401st sample would be the next zero."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@functools.cache
def mel_filters(num_mels: int = NUM_MELS) -> np.ndarray:
    """Triangles of equal area from 0 to 8 kHz, evenly spaced in mel (Slaney 1998).

    Returns: float32 [num_mels, 201].
    """
    hertz_K = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    corners = _hertz(np.linspace(0.0, _mel(SAMPLE_RATE / 2), num_mels + 2))
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rise_MK = (hertz_K - left) / (centre - left)
    fall_MK = (right - hertz_K) / (right - centre)
    triangle_MK = np.maximum(0.0, np.minimum(rise_MK, fall_MK))
    return (triangle_MK * 2.0 / (right - left)).astype(np.float32)


# Slaney's scale: straight up to 1 kHz at 200/3 Hz a mel, then 27 mel for each factor of 6.4.
_KNEE_HERTZ, _HERTZ_PER_MEL, _LOG_STEP = 1000.0, 200.0 / 3.0, np.log(6.4) / 27.0
_KNEE_MEL = _KNEE_HERTZ / _HERTZ_PER_MEL


def _mel(hertz: float) -> float:
    if hertz < _KNEE_HERTZ:
        return hertz / _HERTZ_PER_MEL
    return _KNEE_MEL + np.log(hertz / _KNEE_HERTZ) / _LOG_STEP


def _hertz(mel: np.ndarray) -> np.ndarray:
    above = _KNEE_HERTZ * np.exp(_LOG_STEP * (np.maximum(mel, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _HERTZ_PER_MEL, above)
