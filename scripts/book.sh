#!/usr/bin/env bash
# Builds the documentation site in target/book/site with mdBook, and checks every link. Installs mdBook into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.5.4
tool=target/tools/bin/mdbook
[ "$("$tool" --version 2>/dev/null)" = "mdbook v$version" ] ||
  cargo install --quiet --debug --locked --no-default-features --features search --root target/tools "mdbook@$version"

# Copies the pages and the files that they link to, with their relative paths.
pages=target/book/pages
rm -rf target/book
mkdir -p "$pages"
cp docs/book/book.toml docs/book/SUMMARY.md "$pages"
cp --parents -r ./*.md LICENSE Dockerfile docker-compose.yml deny.toml docs deploy scripts tests/migration/snippets "$pages"
rm -r "$pages/docs/book"
"$tool" build --dest-dir "$PWD/target/book/site" "$pages"
# mdBook renders README.md as index.html, but links point to README.html, so copy each such file.
find target/book/pages -name README.md -printf '%P\n' | while read -r page; do
  folder="target/book/site/$(dirname "$page")"
  [ ! -e "$folder/index.html" ] || cp "$folder/index.html" "$folder/README.html"
done
scripts/links.py target/book/site
