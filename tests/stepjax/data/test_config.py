"""What a section `data` has to hold, for every kind of corpus."""

import pytest

from configs import digits, quickstart
from stepjax.data.config import OF_FSDD, DataConfig


def test_only_the_kind_that_reads_them_needs_the_fields_of_digits():
    data = digits.get_config().data
    assert data.kind == "fsdd" and DataConfig.of(data).gap_seconds == (0.02, 0.2)
    for name in OF_FSDD:
        lacking = data.copy_and_resolve_references()
        del lacking[name]
        with pytest.raises(ValueError, match=f"^data.kind='fsdd' needs data.{name}, which"):
            DataConfig.of(lacking)
    assert DataConfig.of(quickstart.get_config().data).augment is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"speed": (210, 160)}, "data.speed=(210, 160) cannot be used; give (least, most), two "
         "whole numbers from 80 to 450."),
        ({"pitch": (0.0, 50.0)}, "data.pitch=(0.0, 50.0) cannot be used; give (least, most), two "
         "whole numbers from 0 to 99."),
        ({"languages": ()}, 'data.languages=() cannot be used; give names in brackets, such as '
         '("en", "de").'),
        ({"tasks": {"sing": 1.0}}, "data.tasks={'sing': 1.0} cannot be used; give weights from 0 "
         "to 1,000 for transcribe, answer, one of them above 0."),
        ({"max_seconds": 60}, "data.max_seconds=60 cannot be used; give a number from 0.1 to 25."),
        ({"microbatch": 7}, "data.global_batch=24 cannot be divided into microbatches of "
         "data.microbatch=7 rows; make it a multiple of 7."),
    ],
)  # fmt: skip
def test_what_a_corpus_cannot_be_made_of_is_refused(changes, sentence):
    with pytest.raises(ValueError) as refusal:
        DataConfig.of({**quickstart.get_config().data, **changes})
    assert str(refusal.value) == sentence
