"""The package's changelog, out of the project's; ``changelog.py CHANGELOG.md REVISION RELEASE MAINTAINER SECONDS``."""
# ruff: noqa: INP001 - a script

import re
import sys
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path


def entries(text: str, revision: str, release: str, signature: str) -> list[str]:
    """Return one entry of a Debian changelog for each version of a CHANGELOG.md, the newest first."""
    made = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        points = [" ".join(point.split()) for point in re.split(r"^- ", body, flags=re.MULTILINE)]
        changes = "\n".join(
            textwrap.fill(point, 78, initial_indent="  * ", subsequent_indent="    ")
            for point in points
            if point
        )
        title = f"recorder-agent ({heading.split()[0]}-{revision}) {release}; urgency=medium"
        made.append(f"{title}\n\n{changes}\n\n -- {signature}\n")
    return made


def main(changelog: str, revision: str, release: str, maintainer: str, seconds: str) -> None:
    """Print an entry for each version."""
    signature = f"{maintainer}  {format_datetime(datetime.fromtimestamp(int(seconds), UTC))}"
    sys.stdout.write("\n".join(entries(Path(changelog).read_text("utf-8"), revision, release, signature)))


if __name__ == "__main__":
    main(*sys.argv[1:])
