import pytest
from ml_collections import ConfigDict

from stepjax.data import sources


@pytest.mark.parametrize("kind, split, message", [
    ("radio", "train", "kind='radio' is no kind of corpus: choose spoken, manifest, fsdd"),
    ("spoken", "test", "split='test' does not exist: choose train or heldout"),
    ("manifest", "test", "split='test' does not exist"),
    ("fsdd", "test", "split='test' does not exist"),
])  # fmt: skip
def test_what_does_not_exist_is_refused(kind, split, message):
    with pytest.raises(ValueError, match=message):
        sources.open_source(ConfigDict({"kind": kind}), split)
