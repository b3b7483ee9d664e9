#!/usr/bin/env python3
"""Leaves in the SBOM, which `cargo cyclonedx` made of the lock file, what the program says that it was linked of.

    deploy/sbom.py PROGRAM SBOM

`cargo auditable` wrote that list into the program. `deploy/checks/sbom.py` holds both together.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "checks"))
from sbom_list import of_program  # noqa: E402


def main():
    program, path = sys.argv[1:]
    linked = of_program(program)
    with open(path, encoding="utf-8") as file:
        sbom = json.load(file)
    sbom["components"] = [part for part in sbom["components"] if (part["name"], part["version"]) in linked]
    kept = {part["bom-ref"] for part in [*sbom["components"], sbom["metadata"]["component"]]}
    sbom["dependencies"] = [
        {**entry, "dependsOn": [ref for ref in entry.get("dependsOn", []) if ref in kept]}
        for entry in sbom["dependencies"]
        if entry["ref"] in kept
    ]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(sbom, file, indent=1)


main()
