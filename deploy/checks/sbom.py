#!/usr/bin/env python3
"""Shows that the SBOM names what the program says that it was linked of, no more and no less; and that this list has all
that Cargo links by the lock file.

    deploy/checks/sbom.py PROGRAM SBOM [TARGET]
"""

import json
import subprocess
import sys

from sbom_list import of_program


def of_sbom(path):
    with open(path, encoding="utf-8") as file:
        sbom = json.load(file)
    parts = [*sbom["components"], sbom["metadata"]["component"]]
    return {(part["name"], part["version"]) for part in parts}


def of_lock(target):
    tree = ["cargo", "tree", "--locked", "--package", "callveil", "--edges", "normal,no-proc-macro", "--target", target,
            "--prefix", "none", "--format", "{p}"]
    lines = subprocess.run(tree, check=True, capture_output=True, text=True).stdout.splitlines()
    return {(line.split()[0], line.split()[1].removeprefix("v")) for line in lines if line and "(proc-macro)" not in line}


def main():
    program, sbom = of_program(sys.argv[1]), of_sbom(sys.argv[2])
    lock = of_lock(sys.argv[3] if len(sys.argv) > 3 else "x86_64-unknown-linux-gnu")
    print(f"{len(program)} packages in the program, {len(sbom)} in the SBOM, {len(lock)} linked by the lock file")
    faults = [("not in the SBOM", program - sbom), ("not in the program", sbom - program), ("left out", lock - program)]
    for title, lost in faults:
        if lost:
            print(f"{title}:", *sorted(f"{name} {version}" for name, version in lost))
    sys.exit(any(lost for _, lost in faults))


main()
