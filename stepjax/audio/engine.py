"""The process that eSpeak NG lives in: `python -P engine.py`.

   stdin    one JSON object a line: {"text", "voice", "speed", "pitch"}
   stdout   for each line: samples a second, number of samples (two uint32), the samples (int16)
   stderr   one sentence, if it fails

It imports nothing of ours, and no module imports it. The engine keeps state from sentence to
sentence (phases, noise), so each is spoken by a fork of the fresh engine: how one sounds then
depends on it alone.
"""

import ctypes
import json
import os
import signal
import struct
import sys
import traceback

import espeakng_loader

SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1  # values from espeak-ng's speak_lib.h
RATE, PITCH = 1, 3
RANDOM_SEED = 1  # the breath in a voice is random
SECONDS_PER_SENTENCE = 20  # a fork that hangs is ended by its alarm

Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Engine:
    """The library, loaded and ready."""

    def __init__(self):
        self._pcm: list[bytes] = []
        self._hear = Callback(self._keep)  # the library holds no reference, so this object must
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = os.fsencode(espeakng_loader.get_data_path())
        self.samples_per_second = self._library.espeak_Initialize(SYNCHRONOUS, 0, data, DONT_EXIT)
        if self.samples_per_second <= 0:
            raise RuntimeError(f"eSpeak NG does not start with the voices in {data.decode()}.")
        self._library.espeak_SetSynthCallback(self._hear)

    def _keep(self, samples, count, _events) -> int:
        if samples and count > 0:
            self._pcm.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    def speak(self, text: str, voice: str, speed: int, pitch: int) -> bytes:
        """Int16 samples of `text`; call it once in the life of a process."""
        library = self._library
        library.espeak_ng_SetRandSeed(ctypes.c_long(RANDOM_SEED))
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"eSpeak NG has no voice {voice!r}.")
        library.espeak_SetParameter(RATE, speed, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        utf8 = text.encode()
        library.espeak_Synth(utf8, ctypes.c_size_t(len(utf8) + 1), 0, 1, 0, UTF8, None, None)
        return b"".join(self._pcm)


def answer(engine: Engine, request: bytes) -> None:
    """Speaks one line of stdin to stdout, in a fork."""
    fork = os.fork()
    if fork == 0:
        status = 1
        try:
            signal.alarm(SECONDS_PER_SENTENCE)
            pcm = engine.speak(**json.loads(request))
            with open(1, "wb", closefd=False) as stdout:
                stdout.write(struct.pack("=II", engine.samples_per_second, len(pcm) // 2) + pcm)
            status = 0
        except Exception as error:
            print(traceback.format_exception_only(error)[-1].strip(), file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    _, status = os.waitpid(fork, 0)
    if os.WIFSIGNALED(status):
        sys.exit(f"eSpeak NG was ended by {signal.Signals(os.WTERMSIG(status)).name}.")
    if status:
        sys.exit(1)


def main() -> None:
    engine = Engine()
    for request in sys.stdin.buffer:
        answer(engine, request)


if __name__ == "__main__":
    main()
