"""Writes debian/copyright, ours and each bundled library's as it states it: ``copyright.py LICENSE SITE_PACKAGES``."""
# ruff: noqa: INP001 - a script

import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

OURS = "recorder-agent"
COMMON = {"Apache-2.0": "Apache-2.0", "MPL-2.0": "MPL-2.0"}
"""Long licences that every Debian system has in /usr/share/common-licenses."""
SPOKEN = {
    "Apache License, Version 2.0": "Apache-2.0",
    "BSD 3-Clause License": "BSD-3-Clause",
    "License :: OSI Approved :: MIT License": "MIT",
}
"""The licences of libraries that name no SPDX expression."""
BY_TEXT = {"click-default-group": "BSD-3-Clause", "jinja2": "BSD-3-Clause"}
"""Libraries whose licence is another one than they state."""
BSD = """\
Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the
   following disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote
   products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""
"""For libraries under this licence that come without its text."""


def field(library: Distribution, name: str) -> str:
    """Return a field of a library's metadata; empty when it has none."""
    return next(iter(library.metadata.get_all(name, [])), "")


def licence(library: Distribution) -> str:
    """Return the SPDX expression of a library's licence; exits when it states none."""
    if library.name.lower() in BY_TEXT:
        return BY_TEXT[library.name.lower()]
    stated = field(library, "License-Expression") or field(library, "License")
    if stated and "\n" not in stated:
        return SPOKEN.get(stated, stated)
    for classifier in library.metadata.get_all("Classifier", []):
        if classifier in SPOKEN:
            return SPOKEN[classifier]
    sys.exit(
        f"deb: {library.name} states no licence: look it up, and teach it to packaging/debian/copyright.py."
    )


def texts(library: Distribution) -> list[str]:
    """Return the files of licence that come with a library."""
    names = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
    return [
        file.read_text("utf-8")
        for file in library.files or []
        if ".dist-info" in file.parts[0] and file.name.upper().startswith(names)
    ]


def holders(library: Distribution, licences: Iterable[str]) -> list[str]:
    """Return who holds the copyright, as the licence says; where it names nobody, the authors."""
    lines = [
        line for text in licences for line in re.findall(r"^ *Copyright\b.*\d{4}.*$", text, re.MULTILINE)
    ]
    if lines:
        return [re.sub(r"^ *Copyright *(\([cC]\)|©|:)? *", "", line).rstrip() for line in lines]
    keys = ("Author", "Author-email", "Maintainer", "Maintainer-email")
    return [next(field(library, key) for key in keys if field(library, key))]


def wording(name: str, licences: list[str]) -> str:
    """Return the text of a licence, or where Debian has it."""
    for common, file in COMMON.items():
        if common in name:
            return f"The text of {common} is in /usr/share/common-licenses/{file}.\n"
    if not licences and name != "BSD-3-Clause":
        sys.exit(
            f"deb: a library under {name} comes without its text: teach it to packaging/debian/copyright.py."
        )
    return "\n".join(licences) or BSD


def tops(library: Distribution) -> list[str]:
    """Return patterns for what a library has put into site-packages."""
    folders = {file.parts[0] for file in library.files or [] if len(file.parts) > 1 and file.parts[0] != ".."}
    folders = {folder for folder in folders if Path(str(library.locate_file(folder))).is_dir()}
    files = {file.parts[0] for file in library.files or [] if len(file.parts) == 1}
    return sorted({f"{folder}/*" for folder in folders} | files)


def paragraph(files: list[str], owners: list[str], name: str, text: str) -> str:
    """Return one paragraph of the machine-readable debian/copyright."""
    body = "".join(f" {line.rstrip()}\n" if line.strip() else " .\n" for line in text.strip().splitlines())
    name = name.replace(" AND ", " and ").replace(" OR ", " or ")
    return "Files: " + "\n ".join(files) + "\nCopyright: " + "\n ".join(owners) + f"\nLicense: {name}\n{body}"


def main(own: str, site_packages: str) -> None:
    """Write all paragraphs to standard output."""
    text = Path(own).read_text("utf-8")
    written = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n",
        paragraph(["*"], re.findall(r"^Copyright \(c\) (.*)$", text, re.MULTILINE), "MIT", text),
    ]
    for library in sorted(distributions(path=[site_packages]), key=lambda each: each.name.lower()):
        if library.name != OURS:
            files = [f"payload/usr/lib/recorder-agent/lib/*/site-packages/{top}" for top in tops(library)]
            licences, name = texts(library), licence(library)
            written.append(paragraph(files, holders(library, licences), name, wording(name, licences)))
    sys.stdout.write("\n".join(written))


if __name__ == "__main__":
    main(*sys.argv[1:])
