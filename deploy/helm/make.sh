#!/usr/bin/env bash
# Makes a Helm chart in the folder $1 of what `kubectl kustomize deploy/kubernetes` says, so that both say the same. Its
# values are the image, the configuration, and whether the namespace is the chart's.
set -euo pipefail
cd "$(dirname "$0")/../.."
chart=${1:?"usage: $0 FOLDER"}
version=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)

rm -rf "$chart"
mkdir -p "$chart/templates"
cat >"$chart/Chart.yaml" <<YAML
apiVersion: v2
name: callveil
description: A stateless tokenizer of phone numbers for Tencent Cloud Contact Center
type: application
version: $version
appVersion: $version
YAML
cat >"$chart/values.yaml" <<YAML
# The image, which its owner pushes: deploy/README.md.
image: $(sed -n 's/.*newName: //p' deploy/kubernetes/kustomization.yaml):$version
namespace:
  # Whether the namespace is made, with the label that holds all in it to the same rules.
  create: true
  name: callveil
# callveil.toml, as a whole. Two hashes are left to fill in, and nobody starts without: --set-file config=callveil.toml
config: |
$(sed 's/^\(.\)/  \1/' deploy/kubernetes/callveil.toml)
YAML
# The documents as they are, but for values. The configuration's name ends in a hash of its content here, too.
kubectl kustomize deploy/kubernetes | awk -v out="$chart/templates" '
  function flush() {
    if (kind == "") return
    file = out "/" tolower(kind) ".yaml"
    if (kind == "Namespace") text = "{{- if .Values.namespace.create }}\n" text "{{- end }}\n"
    printf "%s", text > file
    close(file)
    text = ""; kind = ""; in_data = 0
  }
  /^---$/ { flush(); next }
  /^kind: / { kind = $2 }
  { in_data = in_data && /^( |$)/ }
  /^  callveil.toml: \|/ { text = text "  callveil.toml: |\n{{ .Values.config | indent 4 }}\n"; in_data = 1; next }
  in_data { next }
  {
    gsub(/callveil-config-[a-z0-9]+/, "callveil-config-{{ .Values.config | sha256sum | trunc 10 }}")
    gsub(/namespace: callveil$/, "namespace: {{ .Values.namespace.name }}")
    if (kind == "Namespace") gsub(/  name: callveil$/, "  name: {{ .Values.namespace.name }}")
    gsub(/image: .*/, "image: {{ .Values.image }}")
    text = text $0 "\n"
  }
  END { flush() }'
