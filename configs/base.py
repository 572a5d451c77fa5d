"""Every field of a config for training, with a default for small experiments.

$ python -m launch.train --config=configs/base.py --workdir=runs/base --config.steps=60
With 60 steps this is quickstart without faults. The other files are variants of this one and set
what is special about them. The dataclass of a section says what its fields may hold; see
`stepjax/train/settings.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0
    c.steps = 1000
    c.faults = ""  # or a fault plan, such as "lose 3 before 15; back 3 before 30"

    c.fabric = ConfigDict()
    c.fabric.kind = "ring"  # or "line": no wires from the last node to the first
    c.fabric.num_nodes = 8
    c.fabric.gpus_per_node = 2
    c.fabric.hops = 2  # how many nodes away a wire reaches

    c.mesh = ConfigDict()
    c.mesh.tensor = 4  # devices of a tensor-parallel ring
    c.mesh.fsdp = 1  # rings that share parameters and optimizer state; data takes the rest

    c.data = ConfigDict()
    c.data.kind = "spoken"  # by eSpeak NG; or "manifest", "fsdd"
    c.data.manifest = ""  # for kind "manifest": a JSONL file, or what stepjax/data/README.md lists
    c.data.heldout_share = 0.05  # of the manifest's recordings
    c.data.fsdd = ""  # a folder of digits, for kind "fsdd": see configs/digits.py
    c.data.seed = 0
    c.data.cache = ""  # folder for what is slow to make; "" is ~/.cache/stepjax
    c.data.utterances = 480
    c.data.heldout = 32
    c.data.max_seconds = 2.5  # longer recordings are skipped
    c.data.max_skipped = 0.01  # share of recordings that may be unusable
    c.data.max_tokens_per_second = 80.0  # of a manifest's texts, in bytes; longer ones are skipped
    c.data.languages = ("en", "de", "es")
    c.data.voices = ("m1", "m3", "f2", "f4")
    c.data.speed = (160, 210)  # words per minute
    c.data.pitch = (35, 65)  # eSpeak's scale of 0 to 99
    c.data.text_size = 400  # ids of the byte-level BPE
    c.data.audio_codes = 64  # ids of the speech codec
    c.data.vocabulary_multiple = 64
    c.data.tasks = ConfigDict({"transcribe": 1.0, "answer": 1.0})
    c.data.global_batch = 24  # rows of a step, whatever the number of rings
    c.data.microbatch = 2  # rows that a ring computes at once

    c.model = ConfigDict()
    c.model.dtype = "float32"  # of activations; parameters are float32
    c.model.adaptor_hidden = 256
    c.model.encoder = ConfigDict()
    c.model.encoder.mels = 128
    c.model.encoder.width = 128
    c.model.encoder.heads = 4
    c.model.encoder.hidden = 512
    c.model.encoder.layers = 2
    c.model.encoder.remat = False
    c.model.decoder = ConfigDict()
    c.model.decoder.width = 128
    c.model.decoder.heads = 8
    c.model.decoder.kv_heads = 4
    c.model.decoder.head_size = 16
    c.model.decoder.hidden = 384
    c.model.decoder.layers = 2
    c.model.decoder.norm_eps = 1e-6
    c.model.decoder.rope_theta = 10_000.0
    c.model.decoder.remat = False

    c.objective = ConfigDict({"text": 1.0, "audio": 1.0})  # weight of a token in the loss

    c.optimizer = ConfigDict()
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup = 10  # steps
    c.optimizer.final = 0.1  # of the learning rate, at the last step
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.95
    c.optimizer.eps = 1e-8
    c.optimizer.weight_decay = 0.01
    c.optimizer.clip = 1.0  # largest norm of a gradient
    c.optimizer.give_up_after = 3  # steps in a row that are not finite; until then they are skipped

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 20  # steps
    c.checkpoint.keep = 2
    c.evaluate = ConfigDict()
    c.evaluate.every = 0  # steps; 0: only at the end
    return c
