"""What a program says that it was linked of: the list that `cargo auditable` wrote into it."""

import json
import subprocess
import tempfile
import zlib


def of_program(path):
    """Names and versions of the packages, without those that only built it."""
    with tempfile.NamedTemporaryFile() as section:
        command = ["objcopy", "--dump-section", f".dep-v0={section.name}", path, "/dev/null"]
        subprocess.run(command, check=True)
        packages = json.loads(zlib.decompress(section.read()))["packages"]
    return {(package["name"], package["version"]) for package in packages if package.get("kind") != "build"}
