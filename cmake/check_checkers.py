#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the checkers. Each must find a violation that is planted for it, and accept correct input."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import check_compile  # noqa: E402
import check_layers  # noqa: E402
import check_ptxas  # noqa: E402
import check_snippets  # noqa: E402


class tree:
    """A temporary folder with files."""

    def __init__(self, files):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def __enter__(self):
        return self.root

    def __exit__(self, *_):
        self.folder.cleanup()


def header(*includes, lines=0):
    text = "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n"
    return text + "".join(f"#include {i}\n" for i in includes) + "//\n" * lines


class layers(unittest.TestCase):
    good = {
        "core/config.hpp": header("<cuda_runtime_api.h>"),
        "core/lanes.hpp": header("<diloco/core/config.hpp>", "<vector>"),
        "concepts/optimizer.hpp": header("<diloco/core/lanes.hpp>"),
        "state/table.hpp": header("<diloco/concepts/optimizer.hpp>"),
        "sweep/encode.hpp": header("<diloco/state/table.hpp>"),
        "optimizer/sgd.hpp": header("<diloco/concepts/optimizer.hpp>"),
        "transport/threads.hpp": header("<diloco/core/lanes.hpp>"),
        "transport/mpi.hpp": header("<mpi.h>"),
        "executor/host.hpp": header("<thrust/for_each.h>"),
        "executor/cuda.cuh": header("<diloco/executor/host.hpp>", "<cub/cub.cuh>"),
        "trainer.hpp": header("<diloco/round/launch.hpp>"),
        "round/launch.hpp": header("<diloco/sweep/encode.hpp>"),
        "inner/step.hpp": header("<diloco/sweep/encode.hpp>"),
        "recipe.hpp": header("<diloco/optimizer/sgd.hpp>"),
        "recipes/paper.hpp": header("<diloco/trainer.hpp>", "<diloco/optimizer/sgd.hpp>"),
        "diloco.hpp": header("<diloco/recipe.hpp>", "<diloco/executor/host.hpp>"),
    }

    def problems(self, changes):
        files = {f"include/diloco/{name}": text for name, text in {**self.good, **changes}.items()}
        with tree({**files, "cmake/headers.cmake": ""}) as root:
            check_layers.check_tree(root, write=True)
            return check_layers.check_tree(root)[0]

    def test_the_good_tree_passes(self):
        self.assertEqual(self.problems({}), [])

    def test_each_planted_violation_is_named(self):
        plants = [
            ("optimizer/adamw.hpp", header("<diloco/compressor/f32.hpp>"), "there is no such header"),
            ("optimizer/adamw.hpp", header("<diloco/transport/threads.hpp>"), "another policy's folder"),
            ("optimizer/adamw.hpp", header("<diloco/state/table.hpp>"), "a policy sees layers 0-2 only"),
            ("transport/with/counted.hpp", header("<diloco/transport/threads.hpp>"), "wraps any transport"),
            ("sweep/outer.hpp", header("<diloco/optimizer/sgd.hpp>"), "only through concepts/"),
            ("inner/step.hpp", header("<diloco/round/launch.hpp>"), "do not include each other"),
            ("core/text.hpp", header("<diloco/concepts/optimizer.hpp>"), "layer 1 includes only layers"),
            ("core/error.hpp", header("<diloco/core/lanes.hpp>"), "layer 0 includes only layers"),
            ("diloco.hpp", header("<diloco/transport/mpi.hpp>"), "the umbrella includes nothing"),
            ("core/text.hpp", header() + "int f() {\n" + "  g();\n" * 39 + "}\n", "the function in line 3 has 41 lines"),
            ("core/text.hpp", header('"lanes.hpp"'), "write <diloco/...>"),
            ("core/text.hpp", header("<cuda_fp16.h>"), "CUDA headers belong"),
            ("executor/host.hpp", header("<thrust/device_vector.h>"), "CUDA headers belong"),
            ("sweep/outer.hpp", header("<thrust/for_each.h>"), "Thrust belongs in executor/"),
            ("transport/threads.hpp", header("<mpi.h>"), "MPI belongs in"),
            ("core/text.hpp", header("<nlohmann/json.hpp>"), "costs seconds"),
            ("core/text.hpp", header(lines=399), "401 lines"),
            ("core/text.hpp", header() + "// " + 108 * "x" + "\n", "line 3 has 111 columns"),
            ("core/text.hpp", header() + "#ifdef __CUDA_ARCH__\n#endif\n", "compiler switches"),
            ("core/text.hpp", "#pragma once\n", "SPDX"),
            ("attic/old.hpp", header(), "belongs to no layer"),
        ]
        for path, text, sentence in plants:
            with self.subTest(path=path, sentence=sentence):
                found = self.problems({path: text})
                self.assertEqual(len(found), 1, found)
                self.assertIn(path, found[0])
                self.assertIn(sentence, found[0])

    def test_a_header_missing_in_the_install_list_is_named(self):
        with tree({"include/diloco/trainer.hpp": header(), "cmake/headers.cmake": check_layers.header_list([])}) as root:
            self.assertIn("check_layers.py --write", check_layers.check_tree(root)[0][0])


class snippets(unittest.TestCase):
    example = "int main() {\n  // [loop]\n  for (;;) {\n    go();\n  }\n  // [/loop]\n}\n"

    def problems(self, readme, write=False):
        with tree({"examples/01.cpp": self.example, "README.md": readme}) as root:
            check_snippets.check_tree(root, write)
            return check_snippets.check_tree(root)[0]

    def block(self, body, marker="<!-- snippet: examples/01.cpp#loop -->"):
        return f"# Title\n\n{marker}\n```cpp\n{body}\n```\nafter\n"

    def test_the_same_text_passes(self):
        self.assertEqual(self.problems(self.block("for (;;) {\n  go();\n}")), [])

    def test_drift_is_seen_and_write_mends_it(self):
        self.assertIn("differs from examples/01.cpp#loop", self.problems(self.block("for (;;) {}"))[0])
        self.assertEqual(self.problems(self.block("for (;;) {}"), write=True), [])

    def test_a_block_without_a_source_is_seen(self):
        self.assertIn("without a snippet marker", self.problems(self.block("go();", ""))[0])
        self.assertIn("without a snippet marker", self.problems(self.block("go();", "<!-- not compiled -->"))[0])
        self.assertIn("there is no file", self.problems(self.block("go();", "<!-- snippet: nowhere.cpp#loop -->"))[0])
        self.assertIn("needs one line", self.problems(self.block("go();", "<!-- snippet: examples/01.cpp#pool -->"))[0])

    def test_shell_needs_no_marker(self):
        self.assertEqual(self.problems("```sh\nmake\n```\n"), [])


class ptxas(unittest.TestCase):
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z4cleanPf' for 'sm_90'
ptxas info    : Function properties for _Z4cleanPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers
ptxas info    : Compiling entry function '_Z5dirtyPf' for 'sm_90'
ptxas info    : Function properties for _Z5dirtyPf
    2048 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers
"""

    def test_the_culprit_is_named(self):
        kernels = check_ptxas.parse(self.log)
        self.assertEqual([k[-1] for k in kernels], [32, 255])
        problems = check_ptxas.judge(kernels)
        self.assertEqual(len(problems), 1)
        self.assertIn("2048 bytes of stack, 8 spill stores, 4 spill loads in _Z5dirtyPf", problems[0])

    def test_nothing_seen_is_a_failure(self):
        self.assertIn("no kernel", check_ptxas.judge(check_ptxas.parse(""))[0])


class compile_promises(unittest.TestCase):
    refused = "// must not compile: diloco: no decode; add one\nint x;\n"

    def test_the_first_error_counts(self):
        gnu = "a.cpp:1:2: error: static assertion failed: diloco: no decode; add one\na.cpp:9:9: error: more\n"
        nvcc = 'a.cpp(6): error: static assertion failed with "diloco: no decode; add one"\n'
        self.assertIsNone(check_compile.judge(self.refused, 1, gnu))
        self.assertIsNone(check_compile.judge(self.refused, 1, nvcc))
        self.assertIn("first error", check_compile.judge(self.refused, 1, "a.cpp:1:1: error: other\n" + gnu))

    def test_broken_promises(self):
        self.assertIn("must not compile, and does", check_compile.judge(self.refused, 0, ""))
        self.assertIn("must compile, and does not", check_compile.judge("// must compile\n", 1, "x"))
        self.assertIn("needs one line", check_compile.judge("int x;\n", 0, ""))
        self.assertIsNone(check_compile.judge("// must compile\n", 0, ""))


if __name__ == "__main__":
    unittest.main()
