#!/usr/bin/env python3
"""Shows that the SBOM names what is in the program, no more and no less.

    deploy/checks/sbom.py PROGRAM SBOM

`cargo auditable` wrote into the program, as it was linked, what it is of; `cargo cyclonedx` makes the SBOM of the lock file.
"""

import json
import subprocess
import sys
import tempfile
import zlib


def of_program(path):
    with tempfile.NamedTemporaryFile() as section:
        command = ["objcopy", "--dump-section", f".dep-v0={section.name}", path, "/dev/null"]
        subprocess.run(command, check=True)
        packages = json.loads(zlib.decompress(section.read()))["packages"]
    return {(package["name"], package["version"]) for package in packages if package.get("kind") != "build"}


def of_sbom(path):
    with open(path, encoding="utf-8") as file:
        sbom = json.load(file)
    parts = [*sbom["components"], sbom["metadata"]["component"]]
    return {(part["name"], part["version"]) for part in parts}


def main():
    program, sbom = of_program(sys.argv[1]), of_sbom(sys.argv[2])
    print(f"{len(program)} packages in the program, {len(sbom)} in the SBOM")
    for title, lost in [("not in the SBOM", program - sbom), ("not in the program", sbom - program)]:
        if lost:
            print(f"{title}:", *sorted(f"{name} {version}" for name, version in lost))
    sys.exit(program != sbom)


main()
