"""A file has its old content or its new one, and a full disk is one sentence."""

import pytest
from small_disk import KB, fill, small_disk

from stepjax.disk.files import Unwritable, read_json, replace


def test_a_file_gets_its_content_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "new" / "a.json"
    for content in ("one", b"two", "\u4e8c"):
        replace(path, content)
        assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert list(path.parent.iterdir()) == [path]


def test_others_may_read_what_they_could_read_before(tmp_path):
    (tmp_path / "plain").write_text("")
    replace(tmp_path / "a", "")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_on_a_full_disk_stays_as_it_was(tmp_path):
    with small_disk(tmp_path / "disk", 64 * KB) as disk:
        replace(disk / "a", "before")
        fill(disk)
        with pytest.raises(
            Unwritable, match=f"^{disk}/a cannot be written .No space left on device."
        ):
            replace(disk / "a", bytes(8 * KB))
        assert sorted(path.name for path in disk.iterdir()) == ["a", "hog"]
        assert (disk / "a").read_text() == "before"


def test_a_folder_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match=f"{tmp_path}/file/a cannot be written"):
        replace(tmp_path / "file" / "a", "")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff"])
def test_json_that_was_cut_off_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=f"{path} is damaged, since it is not whole JSON"
    ) as refusal:
        read_json(path)
    assert "\n" not in str(refusal.value)


def test_json_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}/a.json cannot be read .No such file"):
        read_json(tmp_path / "a.json")
