#!/usr/bin/env python3
"""Leaves in the SBOM, which `cargo cyclonedx` made, what the program is linked of: no macros, and nothing that they are made of.

    deploy/sbom.py SBOM TARGET
"""

import json
import subprocess
import sys


def main():
    path, target = sys.argv[1:]
    tree = ["cargo", "tree", "--locked", "--package", "callveil", "--edges", "normal,no-proc-macro", "--target", target,
            "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(tree, check=True, capture_output=True, text=True).stdout.splitlines()
    linked = {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines if line and "(proc-macro)" not in line}
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
