#!/usr/bin/env python3
"""Checks each link between the pages of a site: its page and its anchor must exist."""

import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.names, self.links = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names.update(attributes[key] for key in ("id", "name") if attributes.get(key))
        link = attributes.get("href" if tag in ("a", "link") else "src")
        if link:
            self.links.append(link)


def main(site):
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html")}
    broken = checked = 0
    for path, page in pages.items():
        # Skips the special pages: the 404 page, the print page, and the table of contents for browsers without
        # JavaScript.
        if path.name in ("404.html", "print.html", "toc.html"):
            continue
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            checked += 1
            target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
            if target.is_dir():
                target = target / "index.html"
            found = target in pages and (not url.fragment or url.fragment in pages[target].names)
            if not found and not (target not in pages and target.is_file()):
                print(f"{path.relative_to(site)}: {link}")
                broken += 1
    print(f"{len(pages)} pages, {checked} links, {broken} broken")
    return 1 if broken or checked < 1000 else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
