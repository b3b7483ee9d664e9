#!/usr/bin/env python3
"""Shows that the Helm chart renders to what kustomize makes of deploy/kubernetes, document by document.

    deploy/checks/helm.py CHART        a folder or an archive, with PyPI's helm-python-sdk and PyYAML, and kubectl
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]


def documents(text):
    """What is to be applied, by kind and name; the hash in the configuration's name is each tool's own."""
    text = re.sub(r"callveil-config-[a-z0-9]+", "callveil-config-HASH", text)
    found = {}
    for document in yaml.safe_load_all(text):
        if document:
            key = document["kind"], document["metadata"]["name"]
            assert key not in found, key
            found[key] = document
    return found


def rendered(chart, **values):
    """All documents of the chart, by Helm itself, without a cluster."""
    files = helm_python.Chart.load(chart).render(values, name="callveil", namespace="callveil")
    return "\n---\n".join(files.values())


def check_values(chart):
    """What its owner sets is what is applied, and a changed configuration has another name, so that it rolls out."""
    image, config = "registry.test/callveil:1", 'path = "/a"\n\n[admin]\n'
    text = rendered(chart, image=image, config=config, namespace={"create": False, "name": "calls"})
    found = documents(text)
    assert {document["metadata"].get("namespace") for document in found.values()} == {"calls"}, found.keys()
    (named,) = set(re.findall(r"callveil-config-[a-z0-9]+", text))
    assert named not in rendered(chart)
    assert found["ConfigMap", "callveil-config-HASH"]["data"] == {"callveil.toml": config}
    assert found["Deployment", "callveil"]["spec"]["template"]["spec"]["containers"][0]["image"] == image


def main():
    chart = Path(sys.argv[1])
    kustomized = documents(subprocess.run(["kubectl", "kustomize", ROOT / "deploy/kubernetes"], check=True,
                                          capture_output=True, text=True).stdout)
    helm = documents(rendered(chart))
    assert len(kustomized) >= 7, kustomized.keys()
    assert kustomized.keys() == helm.keys(), kustomized.keys() ^ helm.keys()
    for key, document in kustomized.items():
        assert document == helm[key], json.dumps([document, helm[key]], indent=1)
    check_values(chart)
    print(f"helm renders the {len(kustomized)} documents of kustomize, each equal; its values are applied")


main()
