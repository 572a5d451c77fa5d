"""One workdir, one run: a lock that its process takes to the grave."""

import fcntl
import os
from pathlib import Path

from stepjax.disk.files import writing


class Lock:
    """Holds a folder for this process as long as the `with` statement lasts; makes it if need be.

    The system drops the lock when the process ends, however it ends. A folder that was made and
    never written to is removed again.
    Raises: ValueError, in one sentence, if another process holds it; Unwritable.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / "lock"

    def __enter__(self) -> "Lock":
        with writing(self.folder):
            self._made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            while not self._take():
                pass
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"{os.getpid()}".encode())
        return self

    def __exit__(self, *_) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        if self._made and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _take(self) -> bool:
        """Locks the file; False if it was removed meanwhile by the process that held it before."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise ValueError(
                f"{self.folder} is in use by process {self.path.read_text()}, a run that has not "
                "ended: wait for it, stop it, or use another --workdir."
            ) from None
        if self._is_at_path():
            return True
        os.close(self._descriptor)
        return False

    def _is_at_path(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False
