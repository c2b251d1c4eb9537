"""What setup does with Python wheels.

wheel.py needs WHEEL         prints the requirements of libtorch_cpu.so among the wheel's own, one per line
wheel.py unpack WHEEL DIR    unpacks the parts that building and running against libtorch takes
"""

import hashlib
import os
import re
import sys
import time
import zipfile

# torch: libraries, headers, CMake files, version. NVIDIA wheels: the two libraries that libtorch_cpu.so is linked with.
WANTED = re.compile(
    r"torch/(lib|include|share)/|torch/version\.py$|torch\.libs/|nvidia/.*/lib/lib(cudart|cupti)\.so"
)


def needs(wheel):
    """CUDA runtime and CUPTI requirements; a wheel that wants cuda-toolkit's extras names cuda-toolkit."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    found = set()
    for line in lines:
        if not line.startswith("Requires-Dist:"):
            continue
        match = re.match(
            r"Requires-Dist: (nvidia-cuda-(?:runtime|cupti)(?:-cu\d+)?|cuda-toolkit)(?:\[.*?\])? ?\(?(==[\w.]+\*?)\)?",
            line,
        )
        if not match:
            continue
        machine = re.search(r"platform_machine == ['\"](\w+)['\"]", line)
        system = re.search(r"(?:platform_system|sys_platform) == ['\"](\w+)['\"]", line)
        if machine and machine.group(1) != os.uname().machine:
            continue
        if system and system.group(1).lower() != sys.platform:
            continue
        found.add("".join(match.groups()))
    print("\n".join(sorted(found)))


def unpack(wheel, folder):
    """Unpacks what WANTED names and notes the wheel's sha256 in DIR/WHEELS."""
    began = time.monotonic()
    digest = hashlib.sha256()
    with open(wheel, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    size = 0
    with zipfile.ZipFile(wheel) as archive:
        wanted = [i for i in archive.infolist() if WANTED.match(i.filename)]
        total = sum(i.file_size for i in wanted) or 1
        for info in wanted:
            archive.extract(info, folder)
            size += info.file_size
            if sys.stderr.isatty():
                print(f"\r  {size * 100 // total:3d}%", end="", file=sys.stderr)
    with open(os.path.join(folder, "WHEELS"), "a", encoding="utf-8") as record:
        print(digest.hexdigest(), os.path.basename(wheel), file=record)
    clear = "\r" if sys.stderr.isatty() else ""
    seconds = time.monotonic() - began
    print(f"{clear}setup: unpacked {os.path.basename(wheel)}: {size / 1e6:.0f} MB in {seconds:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    {"needs": needs, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
