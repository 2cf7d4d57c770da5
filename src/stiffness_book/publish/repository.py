"""Where the book's repository is: from continuous integration's environment, else from git.

No address is in the sources. A fork's book therefore points at the fork; without a published repository nothing points
anywhere.
"""

import os
import re
import subprocess
from dataclasses import dataclass

from stiffness_book.store import REPOSITORY as ROOT

INSTALL = "pip install '.[plot]'  # in a clone of the repository"  # what pages say where its address is not known
SITE = "gh-pages"  # the branch that holds the built site, with the notebooks that Colab opens


@dataclass(frozen=True)
class Repository:
    """A published repository, and the commit of which the book is built."""

    url: str  # https://host/owner/name
    commit: str

    @property
    def on_github(self):
        return self.url.startswith("https://github.com/")

    @property
    def name(self):
        """owner/name"""
        return "/".join(self.url.split("/")[-2:])

    def install(self, extra):
        """The command that installs the library at this commit."""
        return f"pip install 'stiffness[{extra}] @ git+{self.url}@{self.commit}'"

    def colab(self, page):
        """The address that opens a page's notebook in Colab; None where Colab cannot reach it."""
        path = f"{self.name}/blob/{SITE}/_sources/{page}.ipynb"
        return f"https://colab.research.google.com/github/{path}" if self.on_github else None

    def binder(self, page):
        """The address that opens a page's notebook on mybinder.org, in the environment of `postBuild`."""
        path = f"{self.name}/{self.commit}?urlpath=lab/tree/{page}.ipynb"
        return f"https://mybinder.org/v2/gh/{path}" if self.on_github else None

    @property
    def site(self):
        """The address of the published site, with a slash at its end; None where it is not known."""
        owner, name = self.name.split("/")
        host = f"{owner.lower()}.github.io"
        return f"https://{host}/{'' if name.lower() == host else name + '/'}" if self.on_github else None


def repository():
    """The `Repository`, or None where there is no remote with a web address, or where it lacks this commit."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return Repository(f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}",
                          os.environ.get("GITHUB_SHA") or git("rev-parse", "HEAD"))
    url, commit = web_address(git("remote", "get-url", "origin")), git("rev-parse", "HEAD")
    published = url and git("branch", "--remotes", "--contains", commit)
    return Repository(url, commit) if published else None


def web_address(remote):
    """https://host/owner/name of a git remote that has one, without a password in it; else an empty string."""
    start, host, path = r"(?:https?://|ssh://|)(?:[^/@]*@)?", r"([\w-]+(?:\.[\w-]+)+)(?::\d+)?", r"([\w.-]+/[\w.-]+?)"
    found = re.fullmatch(rf"{start}{host}[:/]{path}(?:\.git)?/?", remote)
    return f"https://{found[1]}/{found[2]}" if found else ""


def git(*arguments):
    """What git prints; an empty string where it fails."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
