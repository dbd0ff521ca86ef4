"""Compare the DEFLATE engines permessage-deflate can use: speed, ratio and memory.

    python benchmarks/deflate_engines.py            the whole table, about a minute
    python benchmarks/deflate_engines.py --quick    a look, a few seconds

Messages are JSON like that of a ticker or a chat, seeded, so that two runs see the same
octets. Columns of time are microseconds of CPU a message, the least of several rounds:
compressing it with a sync flush, and inflating what zlib made of it. "takeover" keeps one
context, "flushed" resets it with a full flush, "afresh" makes a new one for each message.
"ratio" is compressed octets to plain ones. "KiB" is resident memory a compressing or
inflating context, once it has seen 2 KiB.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

TAIL = b"\x00\x00\xff\xff"
MODULES = ("zlib", "zlib_ng.zlib_ng", "isal.isal_zlib")
LEVELS = {"zlib": 3, "zlib_ng": 3, "isal": 2}  # what switchover asks for


def engines() -> Iterator[tuple[str, Any]]:
    for name in MODULES:
        try:
            yield name.partition(".")[0], importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed: left out")


def messages(size: int, count: int) -> list[bytes]:
    source = random.Random(size)
    words = [
        "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(3, 9)))
        for _ in range(2000)
    ]
    made = []
    for number in range(count):
        event: dict[str, object] = {"id": number, "type": "message", "ts": 1763640000 + number}
        text = ""
        while len(json.dumps(event)) < size:
            text += " ".join(source.choices(words, k=1 if size < 4096 else 200)) + " "
            event["text"] = text
        made.append(json.dumps(event).encode()[:size])
    return made


def least(run: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        gc.collect()
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def compress_all(
    module: Any, plain: list[bytes], level: int, memory: int, *, takeover: bool
) -> Any:
    made = []
    flush = module.Z_SYNC_FLUSH if takeover else module.Z_FULL_FLUSH
    compressor = module.compressobj(level, 8, -15, memory)
    for message in plain:
        made.append(compressor.compress(message) + compressor.flush(flush))
    return made


def compress_afresh(module: Any, plain: list[bytes], level: int, memory: int) -> None:
    for message in plain:
        compressor = module.compressobj(level, 8, -15, memory)
        compressor.compress(message) + compressor.flush(module.Z_SYNC_FLUSH)


def inflate_all(module: Any, packed: list[bytes]) -> None:
    inflater = module.decompressobj(-15)
    for message in packed:
        inflater.decompress(message, 1 << 22)


def inflate_afresh(module: Any, packed: list[bytes]) -> None:
    for message in packed:
        module.decompressobj(-15).decompress(message, 1 << 22)


# Run in an interpreter of its own: a heap that has been used before hides what is new.
CONTEXTS = """
import importlib, json, os, random, sys, zlib
name, kind, level, bits, memory = sys.argv[1:]
level, bits, memory = int(level), int(bits), int(memory)
module = importlib.import_module(name)
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
words = random.Random(1).choices(["w%d" % n for n in range(500)], k=800)
text = " ".join(words).encode()[:2048]
packer = zlib.compressobj(6, zlib.DEFLATED, -15)
packed = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
held, before = [], resident()
for _ in range(500):
    if kind == "compress":
        context = module.compressobj(level, zlib.DEFLATED, -bits, memory)
        context.compress(text) + context.flush(module.Z_SYNC_FLUSH)
    else:
        context = module.decompressobj(-15)
        context.decompress(packed)
    held.append(context)
print((resident() - before) / 500 / 1024)
"""


def context_size(name: str, kind: str, level: int, bits: int, memory: int) -> float:
    """KiB of resident memory a context."""
    arguments = [name, kind, str(level), str(bits), str(memory)]
    done = subprocess.run(
        [sys.executable, "-c", CONTEXTS, *arguments], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def speed_table(rounds: int) -> None:
    print(
        f"{'engine':8} {'level':>5} {'octets':>8} | {'takeover':>8} {'ratio':>6} |"
        f" {'flushed':>8} {'afresh':>8} {'ratio':>6} | {'inflate':>8} {'afresh':>8}"
    )
    for size, count in ((64, 2000), (512, 1000), (16384, 60), (1 << 20, 2)):
        plain = messages(size, count)
        total = sum(map(len, plain))
        with_takeover = compress_all(zlib, plain, 6, 8, takeover=True)
        without = compress_all(zlib, plain, 6, 8, takeover=False)
        for name, module in engines():
            inflate = least(lambda: inflate_all(module, with_takeover), rounds) / count * 1e6
            afresh = least(lambda: inflate_afresh(module, without), rounds) / count * 1e6
            for level in (1, 2, 3) if name == "isal" else (1, 3, 6):
                row = [
                    least(lambda: compress_all(module, plain, level, 8, takeover=True), rounds),
                    least(lambda: compress_all(module, plain, level, 8, takeover=False), rounds),
                    least(lambda: compress_afresh(module, plain, level, 8), rounds),
                ]
                kept, flushed, fresh = (seconds / count * 1e6 for seconds in row)
                ratios = [
                    sum(map(len, compress_all(module, plain, level, 8, takeover=t))) / total
                    for t in (True, False)
                ]
                print(
                    f"{name:8} {level:5} {size:8} | {kept:8.1f} {ratios[0]:6.3f} |"
                    f" {flushed:8.1f} {fresh:8.1f} {ratios[1]:6.3f} |"
                    f" {inflate:8.1f} {afresh:8.1f}"
                )
        print()


def memory_table() -> None:
    print(
        f"{'engine':8} {'bits':>5} {'memory':>6} | {'KiB compressing':>15} {'inflating':>10}"
        f" {'ratio at 16 KiB':>16}"
    )
    plain = messages(16384, 60)
    for module_name in MODULES:
        name = module_name.partition(".")[0]
        if name not in dict(engines()):
            continue
        for bits, memory in ((15, 8), (12, 5), (9, 1)):
            compressing = context_size(module_name, "compress", LEVELS[name], bits, memory)
            inflating = context_size(module_name, "inflate", 0, bits, memory)
            print(
                f"{name:8} {bits:5} {memory:6} | {compressing:15.1f} {inflating:10.1f}"
                f" {ratio(dict(engines())[name], plain, LEVELS[name], bits, memory):16.3f}"
            )


def ratio(module: Any, plain: list[bytes], level: int, bits: int, memory: int) -> float:
    compressor = module.compressobj(level, zlib.DEFLATED, -bits, memory)
    packed = [compressor.compress(m) + compressor.flush(module.Z_SYNC_FLUSH) for m in plain]
    return sum(map(len, packed)) / sum(map(len, plain))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    speed_table(2 if parser.parse_args().quick else 7)
    memory_table()


if __name__ == "__main__":
    main()
