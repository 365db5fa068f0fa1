"""An ARM Linux with Python, below benchmarks/.cache/arm, run by qemu's user-mode emulation.

Debian packages are fetched with private package lists and unpacked, never installed; nothing outside the cache changes.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import failure

_SUITE = "bookworm"
PYTHON = "3.11"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_PACKAGES = (f"python{PYTHON}-minimal", f"libpython{PYTHON}-stdlib", "libstdc++6", "qemu-user-static:amd64")
_MINUTES = 15


class Unavailable(Exception):
    """A piece cannot be had on this machine; the message says which and why, in one line."""


@dataclass(frozen=True)
class Core:
    """A CPU core: its name in qemu, its part number in hexadecimal, and the features that Linux lists for it.

    The runtimes' cpuinfo reads /proc/cpuinfo, which qemu 7.2 does not translate: the host's makes it crash, and a
    feature that the emulated core does not have ends in an illegal instruction. Never `max`: with qemu 7.2's SVE and
    SME the integers come out wrong.
    """

    name: str
    part: str
    features: str


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
CORES = (
    Core("cortex-a53", "0xd03", _ARMV8),
    Core("cortex-a72", "0xd08", _ARMV8),
    Core("cortex-a76", "0xd0b", f"{_ARMV8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"),
)


@dataclass(frozen=True)
class Machine:
    """Where the pieces lie: the emulator, and the unpacked system."""

    qemu: Path
    root: Path

    def run(self, core: Core, packages: Sequence[Path], script: Path, *arguments: Path | str) -> None:
        """Runs a Python script on an emulated core, with the Python packages in these folders.

        Raises:
            RuntimeError: it failed; the message is the last line of what it said.
        """
        prefix = self._prefix(core)
        settings = {
            "PYTHONHOME": prefix / "usr",
            "PYTHONPATH": ":".join(map(str, packages)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        command: list[Path | str] = [self.qemu, "-cpu", core.name, "-L", prefix]
        for name, value in settings.items():
            command += ["-E", f"{name}={value}"]
        command += [prefix / "usr" / "bin" / f"python{PYTHON}", script, *arguments]
        reason = failure(command, _MINUTES)
        if reason:
            raise RuntimeError(f"{script.name} failed on {core.name}: {reason}")

    def _prefix(self, core: Core) -> Path:
        """The system as that core sees it: hard links to the one copy, with the core's own description of the CPU."""
        prefix = self.root.with_name(f"root-{core.name}")
        if not prefix.exists():
            partial = prefix.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(self.root, partial, symlinks=True, copy_function=os.link)
            cpus = partial / "sys" / "devices" / "system" / "cpu"
            cpus.mkdir(parents=True)
            for name in ("possible", "present", "online"):
                (cpus / name).write_text("0\n")
            (partial / "proc").mkdir(exist_ok=True)
            (partial / "proc" / "cpuinfo").write_text(
                f"processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: {core.features}\nCPU implementer\t: 0x41\n"
                f"CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {core.part}\nCPU revision\t: 0\n\n"
            )
            partial.rename(prefix)
        return prefix


def arm_machine(cache: Path) -> Machine:
    """The machine, made on first use (about 60 MB down, 100 MB on disk).

    Args:
        cache: a folder of its own, made if needed.

    Raises:
        Unavailable: a piece cannot be had here.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise Unavailable(f"it takes Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not here; it fetches the emulator and an ARM Python")
    if not Path(_KEYRING).exists():
        raise Unavailable(f"{_KEYRING} is not here (Debian package debian-archive-keyring)")
    cache.mkdir(parents=True, exist_ok=True)
    system = cache / f"debian-{_SUITE}"
    if not system.exists():
        _debian(system)
    return Machine(system / "qemu" / "usr" / "bin" / "qemu-aarch64-static", system / "root")


def _debian(folder: Path) -> None:
    """Fetches and unpacks the packages: the emulator into `qemu`, the ARM system into `root`."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        (partial / name).mkdir(parents=True)
    (partial / "status").touch()
    (partial / "sources.list").write_text(f"deb [signed-by={_KEYRING}] http://deb.debian.org/debian {_SUITE} main\n")
    configuration = partial / "apt.conf"
    configuration.write_text(
        'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; "amd64"; };\n'
        'APT::Install-Recommends "false";\nAPT::Sandbox::User "";\nAcquire::Languages "none";\n'
        f'Dir::State "{partial}";\nDir::State::status "{partial}/status";\nDir::Cache "{partial}/cache";\n'
        f'Dir::Etc::sourcelist "{partial}/sources.list";\nDir::Etc::sourceparts "{partial}/parts";\n'
        f'Dir::Etc::preferences "/dev/null";\nDir::Etc::preferencesparts "{partial}/parts";\n'
    )
    get = ["env", f"APT_CONFIG={configuration}", "apt-get", "--quiet", "--yes"]
    for command in ([*get, "update", "--error-on=any"], [*get, "--download-only", "install", *_PACKAGES]):
        reason = failure(command, _MINUTES)
        if reason:
            raise Unavailable(f"apt-get {command[5]}: {reason}")
    for package in sorted((partial / "cache" / "archives").glob("*.deb")):
        part = "qemu" if package.name.startswith("qemu-user-static_") else "root"
        reason = failure(["dpkg-deb", "--extract", package, partial / part], _MINUTES)
        if reason:
            raise Unavailable(f"{package.name} does not unpack: {reason}")
    for name in ("cache", "lists", "parts"):
        shutil.rmtree(partial / name)
    partial.rename(folder)
