"""Prints the largest dependencies of Curfew, with their lines of Rust and of C, and their uses of `unsafe`.

Counts lines with code, without tests, benches and examples. docs/dependencies.md has these figures.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

NATIVE_EXTENSIONS = {".c", ".h", ".S", ".pl", ".asm"}
UNSAFE = re.compile(r"\bunsafe\b\s*(?:\{|fn|impl|trait|extern)")


def count_lines(folder):
    rust = other = unsafe = 0
    for file in folder.rglob("*"):
        parts = file.relative_to(folder).parts
        if not file.is_file() or {"tests", "benches", "examples"} & set(parts):
            continue
        if file.suffix == ".rs":
            text = file.read_text(errors="replace")
            lines = (line.strip() for line in text.splitlines())
            rust += sum(1 for line in lines if line and not line.startswith("//"))
            unsafe += len(UNSAFE.findall(text))
        elif file.suffix in NATIVE_EXTENSIONS:
            other += sum(1 for line in file.read_text(errors="replace").splitlines() if line.strip())
    return rust, other, unsafe


def main():
    cargo = lambda *words: subprocess.run(["cargo", *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    packages = json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]
    folders = {f"{one['name']} v{one['version']}": Path(one["manifest_path"]).parent for one in packages}
    tree = cargo("tree", "--locked", "-e", "normal", "--prefix", "none", "--format", "{p}")
    names = {" ".join(line.split()[:2]) for line in tree.splitlines() if not line.startswith("curfew ")}
    counts_by_crate = {name: count_lines(folders[name]) for name in names}
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    print(f"{len(names)} crates\n\n| crate | lines of Rust | of C and assembly | unsafe |\n|---|--:|--:|--:|")
    for name, (rust, other, unsafe) in sorted(counts_by_crate.items(), key=lambda one: -sum(one[1][:2]))[:count]:
        print(f"| {name.replace(' v', ' ')} | {rust:,} | {other:,} | {unsafe:,} |")


if __name__ == "__main__":
    main()
