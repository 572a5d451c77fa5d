import pytest

from stepjax.audio import mel
from stepjax.codec import codec


def test_a_code_is_four_mel_frames_of_forty_milliseconds():
    assert codec.SAMPLES_PER_CODE == 640
    assert codec.MEL_FRAMES_PER_CODE * mel.HOP == codec.SAMPLES_PER_CODE


@pytest.mark.parametrize("seconds", [1, 2, 25])
def test_whole_seconds_have_25_codes_each(seconds):
    assert codec.code_length(seconds * mel.SAMPLE_RATE) == 25 * seconds


def test_every_sample_belongs_to_a_code_and_no_code_is_empty():
    for samples in range(1, 2000):
        codes = codec.code_length(samples)
        assert (codes - 1) * 640 < samples <= codes * 640


def test_the_interface_cannot_be_used_by_itself():
    with pytest.raises(TypeError, match="abstract"):
        codec.SpeechCodec()
