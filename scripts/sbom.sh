#!/usr/bin/env bash
# Writes a CycloneDX SBOM of the program to target/curfew.cdx.json. Installs cargo-cyclonedx into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=target/tools/bin/cargo-cyclonedx
[ -x "$tool" ] || cargo install --quiet --locked --root target/tools cargo-cyclonedx@0.5.9
# The tool writes the file to the directory of Cargo.toml.
"$tool" cyclonedx --format json --spec-version 1.5 --override-filename curfew.cdx
mv curfew.cdx.json target/curfew.cdx.json
# The tool also writes a file for each crate of the workspace. The file of the program already contains these crates.
rm -f crates/*/curfew.cdx.json
python3 - <<'PYTHON'
import json

with open("target/curfew.cdx.json") as file:
    bom = json.load(file)
licences = {}
for component in bom["components"]:
    for licence in component.get("licenses", [{}]):
        name = licence.get("expression") or licence.get("license", {}).get("id") or "none given"
        licences[name] = licences.get(name, 0) + 1
print(f"target/curfew.cdx.json: {len(bom['components'])} components")
for name, count in sorted(licences.items(), key=lambda item: -item[1]):
    print(f"  {count:4} {name}")
PYTHON
