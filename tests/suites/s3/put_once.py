"""One upload in a process of its own, and the most memory that process has had.

put_once.py URL CONTENT_TYPE FILE stream|whole
"""

import io
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))  # what all tests share

from api_bench import Secret, StillClock

from agent import log
from agent.api.client import RecordingsApi, UploadUrl
from agent.config.schema import ApiConfig


def main(url: str, content_type: str, file: Path, how: str) -> None:
    """Upload the file and print VmHWM in KiB; ``whole`` is the mistake: the file is read into memory first."""
    log.configure("warning", "text")
    api = RecordingsApi(ApiConfig(base_url="http://127.0.0.1:1/v1"), Secret, StillClock())
    with file.open("rb") as audio:
        source = io.BytesIO(audio.read()) if how == "whole" else audio
        api.put(UploadUrl(url, {"Content-Type": content_type}), source, os.fstat(audio.fileno()).st_size)
    api.close()
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    print(found[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
