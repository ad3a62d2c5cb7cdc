"""What a data set reports, against the partitions that were written: the newest by name, the smallest, the usual size."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lib.scaling.dataset_metrics import LAST, serve
from lib.scaling.partitions import upgrade_file
from lib.stage.scraping import fetch, parse
from lib.versioning import make_users


def test_the_newest_the_smallest_and_the_median_of_the_last_partitions(tmp_path: Path) -> None:
    target = tmp_path / "users"

    def write(number: int, records: int, written: float) -> None:
        source = tmp_path / f"part-{number:02}.ndjson"
        source.write_text("".join(json.dumps(user) + "\n" for user in make_users(records, seed=number)))
        upgrade_file(source, target, 3)
        os.utime(target / "manifest" / f"{source.name}.json", (written, written))

    server = serve(target)
    try:

        def shown() -> list[float]:
            samples = parse(fetch(f"http://127.0.0.1:{server.server_port}/metrics"))
            assert [one.labels for one in samples] == [{"dataset": "users"}] * 3
            assert [one.name.split("_")[1] for one in samples] == ["newest", "smallest", "median"]
            return [one.value for one in samples]

        assert shown() == [0, 0, 0], "0 is said, and not nothing"
        for number, records in enumerate((8, 9, 4)):
            write(number, records, written=100 + number)
        assert shown() == [102, 4, 8]
        write(2, 10, written=500)
        assert shown() == [500, 8, 9], "filled: the small one is no more"
        write(0, 7, written=900)
        assert shown() == [500, 7, 9], "an old one that is written again makes nothing fresh"
        for number in range(3, LAST + 1):
            write(number, 12, written=1000 + number)
        assert shown() == [1000 + LAST, 9, 12], "the first one is no longer among the last"
    finally:
        server.shutdown()
        server.server_close()
