#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report.py --device on invented figures: TEST DATA, measured nowhere."""
import json
import pathlib
import re
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import device_table  # noqa: E402


def run(name, milliseconds, **counters):
    return {"run_name": f"{name}/iterations:10/manual_time", "run_type": "iteration", "real_time": milliseconds,
            "time_unit": "ms", **counters}


MADE_UP = {
    "context": {"device": "TEST DATA", "runtime_cuda": "0.1", "driver_cuda": "0.2"},
    "benchmarks": [
        run("inner_step/adamw/N:2^28", 3.0, **{"B/param": 28, "GB/s": 2500.0, "%copy": 93.25}),
        run("inner_step/adamw/N:2^30", 12.0, **{"B/param": 28, "GB/s": 2400.0, "%copy": 91.0}),
        run("sweep_a/absmax8/256/N:2^28", 2.0, **{"B/param": 17.0156, "GB/s": 2000.0, "%copy": 80.0}),
        run("sweep_b/absmax8/256/K:2/N:2^28", 2.0, **{"B/param": 22.03, "GB/s": 2000.0, "%copy": 90.0}),
        run("sweep_b/natural/K:2/N:2^28", 4.0, **{"B/param": 22.25, "GB/s": 1500.0, "%copy": 50.0}),
        run("local_round/absmax8/256/N:2^30", 13.0, **{"%copy": 70.0}),
        run("thrust_by_parts/adamw/N:2^28", 6.0),
        run("overlap/adamw/copy_to_host/N:2^28", 3.0, **{"%slower": 1.5}),
        {"run_name": "sweep_a/f32/N:2^30/iterations:10/manual_time", "error_message": "needs more memory", "real_time": 0,
         "time_unit": "ms"},
    ],
}
PEERS = [{"torch_work": "adamw_flat_fused", "diloco_work": "adamw_flat", "ratio": 1.25},
         {"torch_work": "local_outer_flat_fresh", "diloco_work": "local_outer_flat_absmax8", "ratio": 4.0}]


class page(unittest.TestCase):
    def page_of(self, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (pathlib.Path(folder) / name).write_text(content, encoding="utf-8")
            return device_table.page(pathlib.Path(folder))

    def row(self, text, begin):
        found = [line for line in text.splitlines() if line.startswith("| " + begin + " |")]
        self.assertTrue(found, begin)
        return [cell.strip() for cell in found[0].strip("|").split("|")]

    def test_an_empty_folder_has_no_figure_and_every_target(self):
        text = self.page_of({})
        self.assertTrue("Nothing here has been measured yet." in text)
        self.assertFalse(device_table.NOT_YET in text)
        self.assertFalse("|" in text, "a table of nothing")
        for target in ("≥ 90 %", "≤ 12 ms", "≥ 5×", "≥ 1×", "≤ 2 %"):
            self.assertTrue(target in text, target)
        for judged in (", met", ", missed"):
            self.assertFalse(judged in text)

    def test_the_page_in_the_repository_is_what_was_measured_so_far(self):
        kept = (HERE.parent / "docs" / "results" / "gpu.md").read_text(encoding="utf-8")
        if "Nothing here has been measured yet" in kept:
            self.assertTrue(kept == self.page_of({}), "rewrite it: report.py --device of an empty folder")

    def test_made_up_figures_land_in_their_cells(self):
        text = self.page_of({"sweep.json": json.dumps(MADE_UP), "peers.json": json.dumps(PEERS), "date.txt": "TEST DATA\n",
                             "device.csv": "head\nTEST DATA, 1\n"})
        n = device_table.NOT_YET
        self.assertEqual(self.row(text, "`inner_step/adamw`")[1:],
                         ["28", "3.00", "2500", "93.2", "12.00", "2400", "91.0", "≥ 90 %, met"])
        self.assertEqual(self.row(text, "`sweep_a/absmax8/256`")[2:], ["2.00", "2000", "80.0", n, n, n, "≥ 90 %, missed"])
        self.assertEqual(self.row(text, "`sweep_b/absmax8/256/K:2`")[-1], "≥ 90 %, met")
        self.assertEqual(self.row(text, "`sweep_b/natural/K:2`")[1:], ["22.2", "4.00", "1500", "50.0"])
        self.assertEqual(self.row(text, "`local_round/absmax8/256`")[-1], "≤ 12 ms, missed")
        self.assertEqual(self.row(text, "`sweep_a/f32`")[2:], [n] * 6 + [""])
        for line in ("| `inner_step/adamw` | 2^28 | 3.00 | 6.00 | 2.00× |", "| 2^28 | 1.50 % | ≤ 2 %, met |",
                     "`adamw_flat` | 1.25× | ≥ 1×, met |", "`local_outer_flat_absmax8` | 4.00× | ≥ 5×, missed |"):
            self.assertTrue(line in text, line)
        self.assertEqual(self.row(text, "device"), ["device", "TEST DATA"])

    def test_a_run_that_was_cut_short_keeps_what_it_wrote(self):
        whole = json.dumps({k: MADE_UP[k] for k in ("context", "benchmarks")}, indent=1)
        cut = whole[:whole.index('"sweep_b/')].rstrip().removesuffix('"run_name":').rstrip(" {\n")
        text = self.page_of({"sweep.json": cut, "round.json": "", "peers.json": '{"context": {"caches": [{'})
        self.assertEqual(self.row(text, "`inner_step/adamw`")[2], "3.00")
        self.assertEqual(self.row(text, "`sweep_b/absmax8/256/K:2`")[2], device_table.NOT_YET)

    def test_the_compressors_are_those_that_are_timed(self):
        common, others = (HERE / "sweeps.hpp").read_text(encoding="utf-8").split("for_common_compressors")[1].split("for_other")
        self.assertEqual(len(re.findall(r"\bf\(", common)), len(device_table.COMPRESSORS))
        self.assertEqual(len(re.findall(r"\bf\(", others)), len(device_table.OTHERS))


if __name__ == "__main__":
    unittest.main()
