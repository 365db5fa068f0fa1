"""`targets` and `doctor`: what this installation can do, and what would fix what it cannot."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace

from edgeport.bundle.manifest import tool_versions
from edgeport.cache import cache_folder
from edgeport.findings import Finding
from edgeport.results import Result
from edgeport.targets.registry import load_profile, load_target, missing_requirements, profile_names, target_names


def targets() -> Result:
    """Facts: `targets` (name -> precisions, suffix, missing requirements, device profiles); findings: legacy ones."""
    devices = [load_profile(name) for name in profile_names()]
    facts = {}
    findings = []
    for name in target_names():
        target = load_target(name)
        legacy: Finding | None = getattr(target, "legacy", None)
        if legacy is not None:
            findings.append(replace(legacy, message=f"{name}: {legacy.message}"))
        facts[name] = {
            "precisions": list(target.precisions),
            "suffix": target.suffix,
            "missing": list(missing_requirements(target)),
            "profiles": [d.name for d in devices if d.target == name],
        }
    return Result({"targets": facts}, tuple(findings))


def doctor() -> Result:
    """Facts: python, platform, cpus, cache folder, versions, and for each target whether it can be built here."""
    findings = []
    able = {}
    for name in target_names():
        missing = missing_requirements(load_target(name))
        able[name] = not missing
        if missing:
            fix = f"pip install 'edgeport[{name}]'"
            findings.append(Finding("warning", "toolchain-missing", f"{name}: {', '.join(missing)}", hint=fix))
    toolchains = [req for name in target_names() for req in load_target(name).toolchain.values()]
    facts = {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "cpus": os.cpu_count(),
        "cache": str(cache_folder()),
        "versions": tool_versions([*toolchains, "tensorrt-rtx", "tokenizers", "torch"]),
        "targets": able,
    }
    return Result(facts, tuple(findings))
