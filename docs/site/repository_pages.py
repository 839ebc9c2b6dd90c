"""README, CONTRIBUTING and CHANGELOG as pages, and links of a page to files outside docs/.

On GitHub a page links to `../benchmarks/results/x.png`. The site has no such place, so the file is copied to
`repository/benchmarks/results/x.png` and the link follows it. A link to a file that does not exist stays as it is, and
the strict build refuses it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()([\w./-]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    written = {file.src_uri: ROOT / "docs" / file.src_uri for file in files if file.is_documentation_page()}
    written |= {page: ROOT / source for source, page in PAGES.items()}
    linked = {_target(page, link) for page, path in written.items() if path.exists() for link in _links(path)}
    for target in sorted(filter(_is_copied, linked)):
        files.append(File.generated(config, f"repository/{target}", abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    uri = page.file.src_uri

    def rewritten(match: re.Match) -> str:
        target = _target(uri, match[1])
        if target in PAGES:
            place = PAGES[target]
        elif _is_copied(target):
            place = f"repository/{target}"
        elif uri in PAGES.values() and target.startswith("docs/"):
            place = target.removeprefix("docs/")
        else:
            return match[1]
        return posixpath.relpath(place, posixpath.dirname(uri) or ".")

    return LINK.sub(rewritten, markdown)


def _links(path: Path) -> list[str]:
    return LINK.findall(path.read_text(encoding="utf-8"))


def _target(page: str, link: str) -> str:
    """The repository's file that a page's link names."""
    folder = "" if page in PAGES.values() else posixpath.join("docs", posixpath.dirname(page))
    return posixpath.normpath(posixpath.join(folder, link))


def _is_copied(target: str) -> bool:
    return not target.startswith(("docs/", "..")) and target not in PAGES and (ROOT / target).is_file()
