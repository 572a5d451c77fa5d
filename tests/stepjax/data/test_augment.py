import numpy as np
import pytest

from stepjax.data.augment import Augmentation
from stepjax.data.draws import generator


def test_each_augmentation_does_what_it_says():
    tone = (0.1 * np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)).astype(np.float32)
    for k in range(20):
        louder = Augmentation(gain_db=6.0)(tone, generator(0, "gain", k))
        assert 0.5 < louder[4] / tone[4] < 2.0
        noise = Augmentation(snr_db=(10.0, 20.0))(tone, generator(0, "noise", k)) - tone
        assert 9.5 < 10 * np.log10(np.mean(tone**2) / np.mean(noise**2)) < 20.5
        faster = Augmentation(speed=0.2)(tone, generator(0, "speed", k))
        pitch = np.argmax(np.abs(np.fft.rfft(faster * np.hanning(len(faster)), 16_000)))
        assert 800 <= pitch <= 1_200
        assert pitch * len(faster) == pytest.approx(1_000 * 16_000, rel=5e-3)
    np.testing.assert_array_equal(Augmentation()(tone, generator(0)), tone)
